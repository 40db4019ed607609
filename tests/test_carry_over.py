"""What `benchmarks/carry_over.py` says of words that it does not know, before anything is rendered."""

import importlib
from pathlib import Path

import pytest

from reid.errors import UsageError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--render", "age=1"), r"--render age=1: no such field, take FIELD=VALUE of people, .*, ages, "),
        (("--render", "ages"), r"--render ages: want a value, --render ages=VALUE"),
        (("--render", "ages=["), r"--render ages=\[: '\[' is no YAML value"),
        (("--render", "ages=2"), r"ages is 2, want a share from 0 to 1"),
        (("--set", "train.steps"), r"--set train\.steps: want a value"),
    ],
)
def test_a_wrong_word_is_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(BENCHMARKS.parent)
    carry_over = importlib.import_module("carry_over")
    sheet = tmp_path / "people.jpg"
    monkeypatch.setattr("sys.argv", ["carry_over.py", "--sheet", str(sheet), *words])
    monkeypatch.setattr(carry_over, "keep_freed_memory", lambda: None)  # of this whole process
    with pytest.raises(UsageError, match=message):
        carry_over.main()
    assert not sheet.exists()
