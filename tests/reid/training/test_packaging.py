import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reid.models.embedder import ModelSpec, build_model, save_model
from reid.models.inference import embed_images
from reid.training.packaging import save_pyfunc


def test_the_package_runs_without_this_repository_and_holds_no_pickle(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(weights="none", height=32, width=16)
    model = build_model(spec).eval()
    save_model(model, spec, tmp_path / "model.safetensors")
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 16, 3), np.uint8)
    package = tmp_path / "package"
    save_pyfunc(tmp_path / "model.safetensors", images, package)
    assert not capfd.readouterr().err  # neither steps nor bars
    (tmp_path / "model.safetensors").unlink()
    assert not [path for path in package.rglob("*") if path.suffix in (".pkl", ".pickle", ".pyc")]
    assert not list(package.rglob("model.onnx"))  # of the model that comes along
    np.save(tmp_path / "images.npy", images)
    code = (
        "import json, mlflow, numpy, sys\n"
        "sys.modules['onnx'] = None\n"  # which the package does not ask for
        "model = mlflow.pyfunc.load_model('package')\n"
        "import reid\n"
        "example = model.input_example\n"
        "answer = model.predict(numpy.load('images.npy'))\n"
        "numpy.save('answer.npy', answer)\n"
        "print(json.dumps({'reid': reid.__file__, 'inputs': model.metadata.signature.inputs.to_dict(), "
        "'example': example.shape}))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")  # not even MLflow's advice to give types
    signature = json.loads(done.stdout)
    assert signature["inputs"] == [
        {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 32, 16, 3]}}
    ]
    assert signature["example"] == [2, 32, 16, 3]
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), embed_images(model, images), atol=1e-6)
