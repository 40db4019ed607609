"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path.relative_to(ROOT)
    for package in ("reid", "serving", "pipelines")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_examples_give_what_they_say(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = doctest.testmod(importlib.import_module(module_of(path)))
    assert done.attempted > 1
    assert not done.failed, capsys.readouterr().out


def test_the_entry_points_have_an_example() -> None:
    """What the contracts name and a few lines can show; a runtime or a job needs files."""
    assert {module_of(path) for path in FILES} >= {
        "reid.data.sampling",
        "reid.evaluation.ranking",
        "reid.evaluation.verification",
        "reid.losses",
        "reid.metric.class_tree",
        "serving.gallery.gallery",
    }
