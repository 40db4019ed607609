"""Every kind of wrong value in params.yaml, and in options of a loss, is one line with the way out."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest

from reid.config import Params, load_params, with_values
from reid.errors import UsageError
from reid.losses import build_loss, loss_options
from reid.wrong_values import truths_for_numbers

NAMED = "a name, or a mapping of name and options"
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
        ("train.ema", float("nan"), "nan: take a finite number, at least 0 and below 1"),
        ("train.learning_rate", "fast", "'fast': take a number, above 0"),
        ("train.weight_decay", float("inf"), "inf: take a finite number, at least 0"),
        ("train.max_seconds", 0, "0: take a number, above 0, or null"),
        ("train.max_seconds", date(2026, 11, 30), "2026-11-30: take a number, above 0, or null"),
        ("data.root", date(2026, 11, 30), "2026-11-30: take a text, or null"),
        ("export.engines", "onnx", "'onnx': take 'tensorrt' or 'tensorrt_rtx', or null"),
        ("objectives.batch_hard.sampler", 5, f"5: take {NAMED}"),
        ("objectives.batch_hard.sampler", None, f"null: take {NAMED}"),
        ("objectives.batch_hard.terms.batch_hard.miner", 5, f"5: take {NAMED}, or null"),
        ("objectives.batch_hard.terms", {}, "empty: take at least 1"),
        ("export.precisions", [], "empty: take at least 1"),
        ("train.steps", 1.5, "1.5: take a whole number, at least 1"),
        ("train.steps", [3], "a list: take a whole number, at least 1"),
        ("seed", -1, "-1: take a whole number, at least 0 and below 4294967296"),
        ("objectives.batch_hard.terms.softmax.weight", -1, "-1: take a number, at least 0"),
        ("objectives.batch_hard.steps", 0, "0: take a whole number, at least 1, or null"),
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
        ("train.max_seconds", "a number, above 0, or null"),
        ("export.parity.fp32", "a number, at least -1 and at most 1"),
        ("train.threads", "a whole number, at least 1 and at most 4096"),
        ("data.footage.every", "a whole number, at least 1"),
        ("pretrain.views.erasing", "a number, at least 0 and at most 1, or null"),
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


SHARE = "at least 0 and at most 1"
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("loss", "options", "line"),
    [
        ("batch_hard", {"margin": True}, "'margin' is true: take a number"),
        ("batch_hard", {"margin": [1]}, "'margin' is a list: take a number"),
        ("batch_hard", {"margin": NAN}, "'margin' is nan: take a finite number"),
        ("batch_hard", {"margin": "-inf"}, "'margin' is '-inf': take a finite number"),
        ("batch_hard", {"soft_margin": 3}, "'soft_margin' is 3: take true or false"),
        ("quadruplet", {"margins": [True, 0.5]}, "'margins' is true: take a number"),
        ("quadruplet", {"margins": [1, INF]}, "'margins' is inf: take a finite number"),
        ("quadruplet", {"margins": [1, 1, 1]}, "'margins' is of 3: take at most 2"),
        ("quadruplet", {"warmup_steps": -5}, "'warmup_steps' is -5: take a whole number, at least 0"),
        (
            "softmax",
            {"label_smoothing": -1},
            f"'label_smoothing' is -1: take a number, {SHARE}",
        ),
        (
            "softmax",
            {"label_smoothing": 3},
            f"'label_smoothing' is 3: take a number, {SHARE}",
        ),
        (
            "center",
            {"label_smoothing": NAN},
            f"'label_smoothing' is nan: take a finite number, {SHARE}",
        ),
        ("center", {"center_lr": 2}, "'center_lr' is 2: take a number, at least 0 and at most 1"),
        ("nt_xent", {"temperature": 0}, "'temperature' is 0: take a number, above 0"),
        ("moco", {"temperature": -0.1}, "'temperature' is -0.1: take a number, above 0"),
        ("hierarchical", {"tree": 3}, "'tree' is set by the training, and not by a file: leave it out"),
    ],
)
def test_an_option_of_a_loss_likewise(loss: str, options: dict[str, Any], line: str) -> None:
    sizes = {name: 4 for name in ("num_classes", "embedding_dim") if name in loss_options(loss)}
    with pytest.raises(UsageError) as caught:
        build_loss(loss, **sizes | options)
    assert str(caught.value) == f"loss {loss}: the option {line}"


@pytest.mark.parametrize("value", [True, {"fp32": True}, [0.5, False], {"a": [[1, True]]}])
def test_true_is_found_where_a_number_is_to_be(value: object) -> None:
    kind = float | dict[str, Annotated[float, None] | list[list[int]]] | tuple[float, ...]
    assert len(list(truths_for_numbers(value, kind))) == 1
    assert not list(truths_for_numbers(value, Any))
    # a mapping of options takes any value
    assert not list(truths_for_numbers(value, dict[str, Any]))
