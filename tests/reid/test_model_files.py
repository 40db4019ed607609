"""The files of a trained model's folder are named in one place."""

from pathlib import Path

from reid import model_files
from tests.literals import texts_in

ROOT = Path(__file__).parents[2]


def test_no_other_module_spells_a_name() -> None:
    names = {getattr(model_files, name) for name in model_files.__all__ if name != "KEPT"}
    names -= {model_files.SUMMARY}  # the stage prepare writes one of the data set
    for package in ("reid", "serving", "pipelines", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path == Path(model_files.__file__):
                continue
            assert not {text for text in texts_in(path) if text.rpartition("/")[2] in names}, path
