"""What cannot be trained is one line before anything runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from reid.config import Params, load_params, objective_of, parse_params, with_values
from reid.data.catalog import Catalog, read_catalog
from reid.errors import ReidError, UsageError
from reid.linear_metric import METHODS
from reid.losses import LOSSES
from reid.losses.synthesis import SYNTHESES
from reid.metric.miners import MINERS
from reid.training.checks import check_catalog, check_objective, check_space, label_column
from reid.training.samplers import SAMPLERS

ROOT = Path(__file__).parents[3]
RECIPES: dict[str, Any] = yaml.safe_load((ROOT / "recipes/objectives.yaml").read_text())
PRETRAIN: dict[str, Any] = yaml.safe_load((ROOT / "recipes/pretrain.yaml").read_text())
OWN: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())["objectives"]
POSE = {"log_ratio": {"options": {"anchors": "first"}}}


@pytest.mark.parametrize("name", ["cuhk03", "rendered", "transreid_baseline", "clip_vit_base"])
def test_the_recipes_that_are_whole_files_can_be_trained(name: str) -> None:
    params = load_params(ROOT / f"recipes/{name}.yaml")
    for objective in params.objectives:
        check_objective(params, objective)


def changed(params: Params, **values: Any) -> Params:
    """The objective batch_hard with keys replaced."""
    return with_values(params, {f"objectives.batch_hard.{key}": value for key, value in values.items()})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "pairz"}, "sampler 'pairz' is unknown: take one of dense, mined, neighbourhoods, pairs"),
        ({"sampler": {"name": "pk", "options": {"p": 3}}}, "sampler pk has no option 'p': it takes none"),
        (
            {"sampler": {"name": "mined", "options": {"rule": "easy"}}},
            "sampler mined: the option 'rule' is 'easy': take 'hard' or 'semi_hard'",
        ),
        (
            {"terms": {"triplet": {"miner": "drawn"}}},
            "term triplet: miner: drawn goes with the sampler mined, not pk",
        ),
        (
            {"terms": {"contrastive": {"options": {"pairs": "drawn"}}}},
            "term contrastive: the option pairs: drawn goes with the sampler pairs, not pk",
        ),
        (
            {"terms": {"cross_batch_memory": {"options": {"memory": 5}}}},
            "term cross_batch_memory: a memory of 5 holds no batch of 6 (train.identities x train.images): ",
        ),
        (
            {"terms": {"triplet": {"miner": "semihard"}}},
            "miner 'semihard' is unknown: take one of all, batch_hard",
        ),
        (
            {"terms": {"triplet": {"miner": {"name": "semi_hard", "options": {"margin": 1}}}}},
            "miner semi_hard has no option 'margin': it takes none",
        ),
    ],
)
def test_what_does_not_go_together_is_named(tiny_params: Params, values: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_objective(changed(tiny_params, **values), "batch_hard")
    assert str(caught.value).startswith(f"objectives.batch_hard: {message}")
    assert "\n" not in str(caught.value)


def test_every_choice_of_a_sweep_is_built_before_it_begins(tiny_params: Params) -> None:
    loss = "objectives.batch_hard.terms.batch_hard.loss"
    good = {
        loss: {"choice": ["batch_hard", "batch_all", "triplet"]},
        "objectives.batch_hard": {"choice": ["batch_hard", "quadruplet"]},
        "objectives.batch_hard.terms.batch_hard.options.margin": {"uniform": [0.1, 0.5]},
    }
    check_space(with_values(tiny_params, {"tune.space": good}), "batch_hard")
    for key, choices, message in (
        (loss, ["batch_hard", "circle"], "loss circle has no option 'soft_margin'"),
        (loss, ["batch_hrad"], "loss 'batch_hrad' is unknown"),
        ("objectives.batch_hard", ["quadruplet", "hierarchical"], "search among objectives that start alike"),
        ("objectives.batch_hard.terms.softmax.miner", ["semi_hard"], "loss softmax takes no miner"),
    ):
        params = with_values(tiny_params, {"tune.space": {key: {"choice": choices}}})
        with pytest.raises(UsageError, match=message) as caught:
            check_space(params, "batch_hard")
        assert str(caught.value).startswith(f"tune.space.{key}, {choices[-1]!r}: ")


def with_column(catalog: Catalog, name: str, values: list[Any]) -> Catalog:
    return Catalog(catalog.table.append_column(name, pa.array(values)), catalog.folder)


def test_a_sweep_over_backbones_that_the_weights_are_not_of_is_refused(tiny_params: Params) -> None:
    space = {"tune.space": {"model.backbone": {"choice": ["mobilenet_v2", "resnet18"]}}}
    values = {"model.backbone": "mobilenet_v2", "model.weights": "rendered"}
    with pytest.raises(UsageError, match="rendered are of backbone mobilenet_v2, not of resnet18"):
        check_space(with_values(tiny_params, values | space), "batch_hard")


def test_label_vectors_must_be_there_and_whole(tiny_params: Params, tiny_catalog: Path) -> None:
    params = changed(tiny_params, terms=POSE, labels="pose")
    assert label_column(params.objectives["batch_hard"]) == "pose"
    assert label_column(params.objectives["quadruplet"]) is None
    catalog = read_catalog(tiny_catalog)
    with pytest.raises(ReidError, match="no label vectors in a column 'pose': give images label_"):
        check_catalog(params, "batch_hard", catalog)
    size = len(catalog)
    other = with_column(catalog, "label_vector", [[0.5, 1.0]] * size)
    with pytest.raises(ReidError, match="no label vectors in a column 'pose': it has label_vector"):
        check_catalog(params, "batch_hard", other)
    for bad in (None, [], [1.0], [1.0, float("nan")]):
        rows = [[0.5, 1.0]] * (size - 1) + [bad]
        with pytest.raises(ReidError, match=r"^image \S+ of the catalog has no pose of 2 finite numbers"):
            check_catalog(params, "batch_hard", with_column(catalog, "pose", rows))
    whole = with_column(catalog, "pose", [[float(row), 1.0] for row in range(size)])
    check_catalog(params, "batch_hard", whole)
    vectors = whole.split("train").vectors("pose")
    assert vectors.dtype == np.float64 and vectors.shape == (len(whole.split("train")), 2)


def test_a_batch_that_cannot_be_filled_is_named(tiny_params: Params, tiny_catalog: Path) -> None:
    catalog = read_catalog(tiny_catalog)
    whole = with_column(catalog, "label_vector", [[float(row)] for row in range(len(catalog))])
    dense = changed(tiny_params, terms=POSE, sampler={"name": "dense", "options": {"neighbours": 30}})
    with pytest.raises(ReidError, match=r"batch_hard: sampler dense: 24 images are fewer than a batch of"):
        check_catalog(dense, "batch_hard", whole)
    alone = catalog.where(np.arange(len(catalog)) % 4 == 0)
    with pytest.raises(ReidError, match="batch_hard: sampler pairs: there are no pairs to sample"):
        check_catalog(changed(tiny_params, sampler="pairs"), "batch_hard", alone)
    with pytest.raises(ReidError, match="batch_hard: the sampler mined finds no triplet where nobody"):
        check_catalog(changed(tiny_params, sampler="mined"), "batch_hard", alone)


def test_every_recipe_can_be_built() -> None:
    value = yaml.safe_load((ROOT / "params.yaml").read_text())
    params = parse_params(value | {"objectives": OWN | RECIPES, "pretrain": PRETRAIN})
    for name in (*params.objectives, *params.pretrain):
        check_objective(params, name)


def test_no_loss_miner_or_sampler_is_without_a_recipe() -> None:
    params = parse_params(yaml.safe_load((ROOT / "params.yaml").read_text()) | {"pretrain": PRETRAIN})
    images = [objective_of(params, name).model_dump(exclude_none=True) for name in PRETRAIN]
    sections = [*OWN.values(), *RECIPES.values(), *images]
    terms = [(name, term) for section in sections for name, term in section["terms"].items()]
    # The loss distance_weighted is triplet with the miner of that name.
    assert set(LOSSES) == {term.get("loss", name) for name, term in terms} | {"distance_weighted"}
    miners = [term["miner"] for _, term in terms if "miner" in term]
    # These four are the rules of the losses batch_hard, easy_positive, batch_semi_hard and batch_all.
    own_losses = {"batch_hard", "easy_positive", "semi_hard", "all"}
    assert set(MINERS) == {one if isinstance(one, str) else one["name"] for one in miners} | own_losses
    samplers = [section.get("sampler", "pk") for section in sections]
    assert set(SAMPLERS) == {one if isinstance(one, str) else one["name"] for one in samplers}


def test_the_page_begins_with_six_lines_and_names_all_there_is() -> None:
    page = (ROOT / "docs/objectives.md").read_text()
    begin = page.split("\n\n")[1].splitlines()
    assert [line[:3] for line in begin] == [f"{n}. " for n in range(1, 7)], "what a newcomer takes"
    known = {*LOSSES, *MINERS, *SAMPLERS, *METHODS} | {f"synthesis: {name}" for name in SYNTHESES}
    assert sorted(name for name in known if f"`{name}`" not in page) == []
    recipes = {*OWN, *RECIPES}
    assert sorted(name for name in recipes if f"`{name}`" not in page) == []
    # and what the six lines tell to take is there
    said = {word for line in begin for word in re.findall(r"`([a-z_]+)`", line)}
    assert said <= known | recipes
