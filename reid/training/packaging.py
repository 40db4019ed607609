"""A trained model as a folder that ``mlflow.pyfunc`` loads: weights, signature, an input example, and code
instead of pickles.
"""

import importlib.metadata
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

import reid
from reid.model_files import WEIGHTS
from reid.models.embedder import load_model
from reid.models.inference import embed_images
from reid.shipped import shipped_models

__all__ = ["ARTIFACT", "save_pyfunc"]

ARTIFACT = f"artifacts/{WEIGHTS}"
"""Where the weights lie in the folder."""

_REQUIRES = ("mlflow", "numpy", "pydantic", "pyyaml", "safetensors", "torch", "torchvision")


def save_pyfunc(weights: Path, example: npt.NDArray[np.uint8], out: Path) -> None:
    """Write the folder ``out``.

    Args:
        weights: a ``model.safetensors`` of this project, by whatever name.
        example: images (N, H, W, 3) uint8 RGB of the model's input size.
        out: must not exist.
    """
    import mlflow
    from mlflow.models import infer_signature
    from mlflow.models.signature import ModelSignature
    from mlflow.types import Schema, TensorSpec

    model, spec = load_model(weights)
    known = infer_signature(example, embed_images(model, example))
    inputs = TensorSpec(np.dtype(np.uint8), (-1, spec.height, spec.width, 3), "images")
    signature = ModelSignature(inputs=Schema([TensorSpec(inputs.type, inputs.shape)]), outputs=known.outputs)
    needed = {"torchreid": ("osnet", "torchreid:"), "timm": ("timm:", "oml:")}
    libraries = (name for name, begins in needed.items() if spec.backbone.startswith(begins))
    packages = (*_REQUIRES, *libraries)
    with tempfile.TemporaryDirectory() as folder:  # MLflow keeps the file's own name
        shutil.copyfile(weights, Path(folder) / WEIGHTS)
        # without the models that come along: a run has its own
        code = shutil.copytree(
            Path(reid.__file__).parent,
            Path(folder) / "reid",
            ignore=shutil.ignore_patterns("__pycache__", *shipped_models()),
        )
        mlflow.pyfunc.save_model(
            out,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"model": str(Path(folder) / WEIGHTS)},
            code_paths=[str(code)],
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in packages],
        )
