PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run test long lint docs bench fuzz ready-model install clean

run: $(STAMP)
	dvc repro
	@python -m pipelines.results

# Two processes, a test file in one of them, in the order of tests/conftest.py.
test: $(STAMP)
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Every recipe by the command of its stage, under Ray and MLflow: a quarter of an hour.
long: $(STAMP)
	python -m pytest -m long

lint: $(STAMP)
	ruff check .
	ruff format --check .
	mypy

# The reference pages, then the site in build/site; a broken link fails.
docs: $(STAMP)
	python docs/reference.py
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# The benchmarks that need no data of others; the half hour is most of all a gallery of a million references.
bench: $(STAMP)
	for one in losses training_step ranking embedding gallery town prepare_checks help; do python benchmarks/$$one.py || exit 1; done

# Ten thousand bad inputs over all commands and the quick stages: half an hour on two cores.
fuzz: $(STAMP)
	python -m tests.fuzz.run --count 10000 $(if $(filter 0,$(shell id -u)),--full-disk 3)

# The model that is shipped, from rendered people alone: an hour (docs/ready_model.md). In a copy, so that params.yaml and what is trained
# here stay; cut off, it goes on where it was.
READY := build/ready-model
ready-model: $(STAMP)
	mkdir -p $(READY)
	git ls-files -z | xargs -0 cp --parents --no-dereference -t $(READY)
	cp recipes/rendered.yaml $(READY)/params.yaml
	cd $(READY) && dvc config --local core.no_scm true && PYTHONPATH=. dvc repro export
	python -m pipelines.ship $(READY) reid/shipped/rendered

install: $(STAMP)

# One constraints file pins what is installed; pip alone does the work, so that a bare Python is enough.
$(STAMP): pyproject.toml requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt -e '.[dev,docs,encryption,openvino,tensorrt-rtx]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV)
