"""Every kind of wrong value in params.yaml, and in options of a loss, is one line with the way out."""

from pathlib import Path
from typing import Any

import pytest

from reid.config import Params, load_params, with_values
from reid.errors import UsageError
from reid.losses import build_loss

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(PARAMS)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("train.layer_decay", 1.5, "1.5: take a number, at least 0.1 and at most 1"),
        ("train.layer_decay", 1e-320, "1e-320: take a number, at least 0.1 and at most 1"),
        ("train.auto_augment", -0.5, "-0.5: take a number, at least 0 and at most 1"),
        ("train.ema", 1, "1: take a number, at least 0 and below 1"),
        ("train.ema", float("nan"), "nan: take a number, at least 0 and below 1"),
        ("train.learning_rate", "fast", "'fast': take a number, above 0"),
        ("train.max_seconds", 0, "0: take a number, above 0"),
        ("train.steps", 1.5, "1.5: take a whole number, at least 1"),
        ("train.steps", [3], "a list: take a whole number, at least 1"),
        ("seed", -1, "-1: take a whole number, at least 0 and below 4294967296"),
        ("objectives.batch_hard.terms.softmax.weight", -1, "-1: take a number, at least 0"),
        ("objectives.batch_hard.steps", 0, "0: take a whole number, at least 1"),
        ("export.parity.fp32", 3, "3: take a number, at least -1 and at most 1"),
        ("train.flip", "perhaps", "'perhaps': take true or false"),
        ("train.precision", "half", "'half': take 'auto', 'float32' or 'bfloat16'"),
        ("model.pooling", None, "null: take 'avg' or 'gem'"),
        ("tracking.uri", 5, "5: take a text"),
        ("train", 5, "5: take a mapping"),
    ],
)
def test_a_wrong_value_is_shown_with_what_to_take(params: Params, key: str, value: Any, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_values(params, {key: value})
    assert str(caught.value) == f"tuned params: {key} is {line}"


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("train.layer_decay", "a number, at least 0.1 and at most 1"),
        ("train.max_seconds", "a number, above 0"),
        ("train.threads", "a whole number, at least 1 and at most 4096"),
        ("data.footage.every", "a whole number, at least 1"),
        ("pretrain.views.erasing", "a number, at least 0 and at most 1"),
        ("model.last_stride", "a whole number, 1 or 2"),
        ("metric.shrinkage", "a number, at least 0 and at most 1"),
    ],
)
def test_true_is_no_number_anywhere(params: Params, key: str, line: str) -> None:
    params = with_values(params, {"pretrain": {"views": {"images": "crops", "method": "simclr"}}})
    for value in (True, False):
        with pytest.raises(UsageError) as caught:
            with_values(params, {key: value})
        assert str(caught.value) == f"tuned params: {key} is {str(value).lower()}: take {line}"


def test_a_number_may_be_a_text_for_yaml_takes_some_for_one(params: Params) -> None:
    changed = with_values(params, {"train.learning_rate": "1e-4", "train.layer_decay": "0.5"})
    assert (changed.train.learning_rate, changed.train.layer_decay) == (1e-4, 0.5)


def test_a_key_with_true_and_false_takes_them(params: Params) -> None:
    assert with_values(params, {"train.flip": False}).train.flip is False


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"margin": True}, "'margin' is true: take a number"),
        ({"margin": [1]}, "'margin' is a list: take a number"),
        ({"soft_margin": 3}, "'soft_margin' is 3: take true or false"),
    ],
)
def test_an_option_of_a_loss_likewise(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_loss("batch_hard", **options)
    assert str(caught.value) == f"loss batch_hard: the option {line}"
