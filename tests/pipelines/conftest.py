"""The tiny people and parameters that trainings are tested with, and the console script."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cli import main
from tests.reid.training.conftest import tiny_catalog, tiny_params

__all__ = ["tiny_catalog", "tiny_params"]


@pytest.fixture
def reid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the console script here; returns exit code, output and what it said on standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reid", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        done = capsys.readouterr()
        return int(caught.value.code or 0), done.out, done.err

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
