"""A model and a gallery of two people for the commands."""

from pathlib import Path

import pytest

from reid.card import Threshold
from tests.serving.cli.commands import reid
from tests.serving.images import named_images
from tests.serving.tiny_models import tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    near = Threshold(policy="min", unit="image", false_accept_rate=0.01, distance=1e-3)
    return tiny_model(tmp_path / "model", thresholds=(near,))


@pytest.fixture
def gallery(tmp_path: Path, model: Path) -> Path:
    folder = named_images(tmp_path / "images", ["anna_1.png", "anna_2.png", "bert_1.png"])
    path = tmp_path / "g.db"
    assert reid("gallery", "enroll", path, folder, "--model", model, "--retain-days", 30).exit_code == 0
    return path
