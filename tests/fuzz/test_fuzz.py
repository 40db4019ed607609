"""The generator of bad inputs, small; ``make fuzz`` runs it large."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.commands import COMMANDS, Command
from tests.fuzz.run import Case, faults

ROOT = Path(__file__).parents[2]
COUNT, SEED = 80, 20_261_128
FILE = (stat.S_IFREG | 0o600, "hash")


@pytest.mark.slow
def test_bad_inputs_end_in_right_answers_or_one_line(mlflow_schema: Path) -> None:
    """In a process of its own: the generator forks, which one whose threads have worked must not. Each
    command once on a full disk, too, where one can be made.
    """
    command = [sys.executable, "-m", "tests.fuzz.run", "--count", str(COUNT), "--seed", str(SEED)]
    full = 0 if os.geteuid() else 1
    command += ["--full-disk", str(full)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "EMPTY_MLFLOW_DB": str(mlflow_schema)},
        timeout=550,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert f"{COUNT + full * len(COMMANDS)} inputs in" in done.stdout


CASE = Case(
    0,
    Command(("embed", "images", "-o", "e.parquet"), ("images",), ("e.parquet",)),
    ["embed", "images", "-o", "e.parquet"],
    {},
    "x",
)
LINE = "reid: images does not exist: check the path\n"


@pytest.mark.parametrize(
    ("code", "error", "after", "fault"),
    [
        (None, "Traceback (most recent call last):\n  File\nKeyError: 'x'\n", {}, "traceback: KeyError: 'x'"),
        (139, "", {}, "exit code 139"),
        (1, "", {}, "0 lines for people"),
        (1, LINE * 2, {}, "2 lines for people"),
        (1, "libpng error: bad\n" + LINE, {}, "noise: libpng error: bad"),
        (1, LINE, {"e.parquet.parts": FILE}, "left: e.parquet.parts"),
        (1, LINE, {"e.parquet": FILE}, "left: e.parquet"),
        (0, "", {"other": FILE}, "left: other"),
        (0, "", {"gallery.db": (stat.S_IFREG | 0o600, "changed")}, "changed: gallery.db"),
        (0, "", {"e.parquet": (stat.S_IFREG | 0o644, "hash")}, "others may read e.parquet"),
        (1, f"reid: {'n' * 2000}\n", {}, "a line of a page's length"),
    ],
)
def test_what_is_not_allowed_is_seen(
    code: int | None, error: str, after: dict[str, tuple[int, str]], fault: str
) -> None:
    before = {"gallery.db": FILE, "images": (stat.S_IFDIR | 0o755, "")}
    assert fault in list(faults(CASE, code, error, before, before | after))


def test_what_is_allowed_is_no_fault() -> None:
    before = {"gallery.db": FILE}
    assert list(faults(CASE, 1, LINE, before, before)) == []
    assert list(faults(CASE, 0, "", before, before | {"e.parquet": FILE})) == []
    assert list(faults(CASE, 1, LINE, before, {})) == ["removed: gallery.db"]


def test_every_command_is_tried() -> None:
    """All that the console script has."""
    import typer.main

    from pipelines.cli import app

    def names(command: object, words: tuple[str, ...] = ()) -> set[str]:
        children = getattr(command, "commands", {})
        return (
            {" ".join(words)}
            if not children
            else set().union(*(names(child, (*words, name)) for name, child in children.items()))
        )

    there = names(typer.main.get_command(app))
    assert there == {one.name for one in COMMANDS if one.stage is None}
