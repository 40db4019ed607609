# Two targets: `train` has everything, `serve` has neither torch nor Ray, MLflow or DVC.
#   docker build --target train -t reid-train .      docker run -v "$PWD:/work" reid-train dvc repro
#   docker build --target serve -t reid-serve .      docker run -v "$PWD:/work" reid-serve reid match job.yaml --out results
FROM python:3.11.14-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# OpenCV's wheel needs these two libraries; git tells a training run its commit.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 git && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 reid && mkdir /work && chown reid /work
WORKDIR /src

FROM base AS serve
COPY requirements/serve.txt requirements/serve.txt
RUN pip install -r requirements/serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY reid reid
COPY serving serving
COPY pipelines pipelines
RUN pip install --no-deps . && rm -rf /src/*
USER reid
WORKDIR /work
CMD ["reid", "--help"]

FROM base AS train
COPY requirements/constraints.txt requirements/constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY reid reid
COPY serving serving
COPY pipelines pipelines
RUN pip install -c requirements/constraints.txt '.[train,openvino,tensorrt-rtx]' && rm -rf /src/*
USER reid
WORKDIR /work
CMD ["dvc", "repro"]
