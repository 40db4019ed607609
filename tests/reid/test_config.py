from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from reid.config import Backbone, load_params, parse_params, with_values
from reid.config_objectives import Named
from reid.errors import UsageError

PARAMS = Path(__file__).parents[2] / "params.yaml"
NAMES = "choice, uniform, loguniform, randint, quniform"


def raw() -> dict[str, Any]:
    return yaml.safe_load(PARAMS.read_text())


def test_the_projects_own_file_is_valid() -> None:
    assert load_params(PARAMS).train.images >= 2


def test_unknown_key_is_named() -> None:
    value = raw()
    value["train"]["learning_rat"] = 1.0
    with pytest.raises(UsageError, match=r"train\.learning_rat: unknown key"):
        parse_params(value)


def test_missing_key_is_named() -> None:
    value = raw()
    del value["model"]["backbone"]
    with pytest.raises(UsageError, match=r"model\.backbone: missing key"):
        parse_params(value)


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        ({"choise": [1.0e-4]}, f"want exactly one of {NAMES}, not choise"),
        ({}, f"want exactly one of {NAMES}, not nothing"),
        (
            {"choice": [1.0e-4], "uniform": [1.0e-4, 1.0e-3]},
            f"want exactly one of {NAMES}, not choice, uniform",
        ),
        ({"uniform": [1]}, "uniform: want 2 values, not 1"),
        ({"quniform": [1, 2]}, "quniform: want 3 values, not 2"),
        ({"choice": []}, "choice: want at least one value"),
        ({"uniform": [1.0e-4, "1e-3"]}, r"uniform: want numbers, not \[0\.0001, '1e-3'\]"),
        ({"loguniform": [1.0e-3, 1.0e-4]}, "loguniform: want the lower end first, not 0.001 and 0.0001"),
    ],
)
def test_a_wrong_distribution_is_refused_when_the_file_is_read(
    distribution: dict[str, list[Any]], message: str
) -> None:
    value = raw()
    value["tune"]["space"] = {"train.learning_rate": distribution}
    with pytest.raises(UsageError, match=rf"^params\.yaml: tune\.space\.train\.learning_rate: {message}$"):
        parse_params(value)
    # the same where a sweep's own values are set from Python
    with pytest.raises(UsageError, match=message):
        with_values(load_params(PARAMS), {"tune.space": value["tune"]["space"]})


def test_objectives_may_have_any_name() -> None:
    value = raw()
    value["objectives"] = {
        "first": {"start": "untrained", "terms": {"circle": {}, "softmax": {"weight": 0.5}}},
        "second": {
            "start": "first",
            "terms": {"mined": {"loss": "triplet", "miner": "semi_hard"}},
            "sampler": "neighbourhoods",
        },
    }
    objectives = parse_params(value).objectives
    assert list(objectives) == ["first", "second"]
    assert objectives["first"].terms["softmax"].weight == 0.5
    assert objectives["second"].terms["mined"].miner == Named(name="semi_hard")
    assert objectives["second"].sampler == Named(name="neighbourhoods")
    assert objectives["first"].sampler == Named(name="pk")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": {"softmax": {"weight": 0}}}, "objectives.batch_hard: the weight of every term is 0"),
        ({"terms": {}}, r"objectives\.batch_hard\.terms"),
        ({"start": "nobody"}, "batch_hard starts from 'nobody', which is missing: add it, or take untrained"),
        ({"start": "batch_hard"}, r"in a circle \(batch_hard from batch_hard\)"),
        ({"start": "hierarchical"}, r"in a circle \(batch_hard from hierarchical from batch_hard\)"),
        ({"triplet_weight": 1.0}, "triplet_weight are of an earlier form: write start and terms"),
        ({"terms": {"soft.max": {}}}, "'soft.max' cannot name a term of batch_hard"),
    ],
)
def test_an_objective_that_cannot_be_is_one_line(changes: dict[str, Any], message: str) -> None:
    value = raw()
    value["objectives"]["batch_hard"] |= changes
    with pytest.raises(UsageError, match=message) as caught:
        parse_params(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["untrained", "tune", "a/b", "a.b", ""])
def test_an_objective_has_a_name_that_a_folder_and_a_key_can_have(name: str) -> None:
    value = raw()
    value["objectives"][name] = value["objectives"]["quadruplet"]
    with pytest.raises(UsageError, match=r"cannot name|is taken"):
        parse_params(value)


def test_a_sweep_may_choose_among_objectives_that_start_alike() -> None:
    params = load_params(PARAMS)
    chosen = with_values(params, {"objectives.batch_hard": "quadruplet"})
    assert chosen.objectives["batch_hard"] == params.objectives["quadruplet"]
    assert params.objectives["batch_hard"] != params.objectives["quadruplet"]
    with pytest.raises(UsageError, match="'triplet' is no objective: take one of batch_hard, quadruplet"):
        with_values(params, {"objectives.batch_hard": "triplet"})
    with pytest.raises(UsageError, match="batch_hard starts from untrained and hierarchical from batch_hard"):
        with_values(params, {"objectives.batch_hard": "hierarchical"})


def test_a_term_may_be_added_and_no_other_key() -> None:
    params = load_params(PARAMS)
    more = with_values(params, {"objectives.batch_hard.terms.circle": {"weight": 0.5}})
    assert list(more.objectives["batch_hard"].terms) == ["batch_hard", "softmax", "circle"]
    assert more.objectives["batch_hard"].terms["circle"].weight == 0.5
    for key in ("objectives.batch_hard.terms.circle.weight", "objectives.circle", "terms", "train.circle"):
        with pytest.raises(UsageError, match=f"has no key '{key}'"):
            with_values(params, {key: {"weight": 0.5}})


@pytest.mark.parametrize(
    "key",
    [
        "objectives.batchhard.terms.softmax.options.label_smoothing",
        "objectives.batch_hard.terms.softmx.options.label_smoothing",
        "objectives.batch_hard.terms.softmax.option.label_smoothing",
        "objectives.batch_hard.terms.softmax.options.deeper.label_smoothing",
        "objectives.batch_hard.terms.softmax.miner.options.margin",  # there is no miner
        "objectives.batch_hard.term.circle",
        "options.foo",
        "train.options.learning_rate",
    ],
)
def test_what_a_key_lies_in_must_be_there(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_values(load_params(PARAMS), {key: 0.5})
    assert str(caught.value) == f"params.yaml has no key {key!r}: correct its spelling"


def test_what_names_no_objective_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"^objectives\.batch_hard: \['quadruplet'\] is no objective: "):
        with_values(load_params(PARAMS), {"objectives.batch_hard": ["quadruplet"]})


def test_a_precision_without_a_limit_is_named() -> None:
    value = raw()
    del value["export"]["parity"]["int8"]
    with pytest.raises(UsageError, match=r"export\.parity: .*no limit for int8.*: add it"):
        parse_params(value)
    value["export"]["precisions"] = ["fp32", "fp16"]
    assert "int8" not in parse_params(value).export.parity


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("required", ["int8"]),
        ("precisions", []),
        ("parity", {"fp32": 1.5}),
        ("parity", {"fp32": -3}),
        ("parity_images", 10**12),
    ],
)
def test_an_export_that_cannot_be_is_named(key: str, given: object) -> None:
    value = raw()
    value["export"] |= {"precisions": ["fp32"], key: given}
    with pytest.raises(UsageError, match=rf"export\.{key}"):
        parse_params(value)


def test_an_unknown_backbone_is_named_with_those_there_are() -> None:
    value = raw()
    value["model"]["backbone"] = "mobilenet_v4"
    with pytest.raises(UsageError, match=r"model\.backbone: .*'mobilenet_v2'.*'osnet_x1_0'") as caught:
        parse_params(value)
    assert "\n" not in str(caught.value)


def test_every_backbone_can_be_configured_and_no_other() -> None:
    from reid.models.backbones import BACKBONES

    assert get_args(Backbone) == tuple(BACKBONES)


def test_value_out_of_range_is_named() -> None:
    value = raw()
    value["train"]["images"] = 1
    with pytest.raises(UsageError) as caught:
        parse_params(value)
    assert str(caught.value) == (
        "params.yaml: train.images is 1: take a whole number, at least 2 and at most 10000"
    )


def test_file_that_is_missing_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1\n")
    with pytest.raises(UsageError, match="is not YAML") as caught:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_tuned_values_replace_and_are_checked() -> None:
    params = load_params(PARAMS)
    tuned = with_values(
        params, {"train.learning_rate": 1e-4, "objectives.batch_hard.terms.batch_hard.options.margin": 0.5}
    )
    assert tuned.train.learning_rate == 1e-4
    assert tuned.objectives["batch_hard"].terms["batch_hard"].options["margin"] == 0.5
    assert params.train.learning_rate != 1e-4
    with pytest.raises(UsageError, match=r"train\.lerning_rate"):
        with_values(params, {"train.lerning_rate": 1.0})
    with pytest.raises(UsageError, match=r"train\.images"):
        with_values(params, {"train.images": 0})
