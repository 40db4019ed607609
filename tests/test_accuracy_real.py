"""`benchmarks/accuracy_real.py`: each change of its ladder changes what is trained, and what it cannot run is
one line before anything is trained.
"""

import importlib
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reid.config import load_params, settings_of, with_values
from reid.errors import UsageError
from reid.training.checks import check_objective

ROOT = Path(__file__).parents[1]
FILES = ("params.yaml", "recipes/cuhk03.yaml")
BASES = [(file, base) for file in FILES for base in load_params(ROOT / file).objectives]
BEFORE_THE_SWEEP = {"train.weight_decay": 0.0005}  # of the rows in docs/objectives.md


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("accuracy_real")


@pytest.mark.parametrize(("file", "base"), BASES)
def test_every_change_changes_what_is_trained_or_says_so(
    file: str, base: str, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    params = load_params(ROOT / file)
    before = program.effective(params, base)
    for changes in (program.LADDER, program.AUGMENTATIONS):
        found = program.candidates_of(params, [], changes, base, 0.0, time.perf_counter)
        noted = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
        assert list(found) == list(changes)
        for step, (changed, _) in found.items():
            check_objective(changed, base)
            beside = program.with_change(params, base, changes[step])[1] != program.Extras()
            assert (step in noted) == (program.effective(changed, base) == before and not beside), step
        assert len(noted) < len(changes) / 3


@pytest.mark.parametrize(("file", "base"), BASES)
def test_factors_are_of_what_is_in_force(file: str, base: str, program: Any) -> None:
    params = load_params(ROOT / file)
    before = settings_of(params, base)
    for step, key, factor in (
        ("twice the learning rate", "learning_rate", 2),
        ("half the learning rate", "learning_rate", 0.5),
        ("ten times the weight decay", "weight_decay", 10),
    ):
        changed, _ = program.with_change(params, base, program.LADDER[step])
        after = settings_of(changed, base)
        assert getattr(after, key) == pytest.approx(factor * getattr(before, key), rel=1e-9)
        assert after.model_copy(update={key: getattr(before, key)}) == before


def test_the_documented_rows_mean_what_they_did(program: Any) -> None:
    params = with_values(load_params(ROOT / "recipes/cuhk03.yaml"), BEFORE_THE_SWEEP)
    for step, key, value in (
        ("twice the learning rate", "learning_rate", 0.0014),
        ("half the learning rate", "learning_rate", 0.00035),
        ("ten times the weight decay", "weight_decay", 0.005),
    ):
        changed, _ = program.with_change(params, "hierarchical", program.LADDER[step])
        assert changed == with_values(params, {f"train.{key}": value})


def test_only_what_is_changed_inside_the_network_wants_mobilenet(program: Any) -> None:
    params = with_values(load_params(ROOT / "params.yaml"), {"model.backbone": "resnet18"})

    def found(step: str, changes: Any) -> Any:
        return program.candidates_of(params, [], {step: changes[step]}, "batch_hard", 0.0, time.perf_counter)

    assert found("embedded at two scales", program.LADDER)
    for step in ("styles mixed in half of the steps", "instance norm in four blocks"):
        with pytest.raises(UsageError, match=f"change '{step}' is of mobilenet_v2 alone"):
            found(step, program.AUGMENTATIONS)


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("override", "[1]", r"--override is '\[1\]': take a mapping of dotted keys, such as "),
        ("override", "{1: 2}", "--override is '{1: 2}': take a mapping of dotted keys, such as "),
        ("override", "{: [", r"--override is no YAML \(.*\): take a mapping of dotted keys, such as "),
        ("override", "{train.stepz: 5}", "params.yaml has no key 'train.stepz'"),
        ("seeds", "0", "--seeds is 0: take at least 1"),
        ("minutes", "-1", "--minutes is -1: take a finite number, at least 0"),
        ("minutes", "nan", "--minutes is nan: take a finite number, at least 0"),
        (
            "objectives",
            "batch_hard,nobody",
            "--objectives: 'nobody' is unknown: take of batch_hard, quadruplet",
        ),
        ("base", "nobody", "--base: 'nobody' is not in .*params.yaml: take of batch_hard, quadruplet"),
        ("ladder", "nothing", "change 'nothing' is unknown: take of without random erasing"),
    ],
)
def test_what_cannot_be_run_is_one_line_at_the_start(
    option: str, value: str, line: str, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no folder is read before these are known: there is none
    given = [
        "--train",
        "none",
        "--test",
        "none",
        "--params",
        str(ROOT / "params.yaml"),
        f"--{option}={value}",
    ]
    monkeypatch.setattr(sys, "argv", ["accuracy_real.py", *given])
    with pytest.raises(UsageError, match=f"^{line}") as caught:
        program.main()
    assert "\n" not in str(caught.value)
