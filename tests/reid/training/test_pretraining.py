"""Self-supervised pre-trainings through the loop of all trainings: whose features the keys are, resumption,
checks, and what is learned without a name.
"""

from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reid.config import Params, objective_of, parse_params, settings_of, with_values
from reid.config_objectives import PretrainParams
from reid.data.catalog import read_catalog, write_catalog
from reid.data.synthetic import TownSpec
from reid.data.synthetic.crops import render_crop
from reid.data.transforms import Augmentation, augment
from reid.data.unlabelled import unlabelled_rows
from reid.errors import ReidError, UsageError
from reid.evaluation import rank_gallery
from reid.images import resize
from reid.losses.projection import collapse
from reid.models.embedder import EmbeddingModel, ModelSpec, build_model, save_model
from reid.models.inference import embed_images
from reid.training import loop
from reid.training.batches import TrainingData
from reid.training.checks import check_catalog, check_objective, check_space
from reid.training.trial import load_training_data, loss_and_batches, run_training

METHODS: dict[str, dict[str, Any]] = {
    "simclr": {"projection": 16},
    "moco": {"projection": 16, "queue": 24},
    "simsiam": {"projection": 16, "bottleneck": 8},
}


def pretraining(params: Params, method: str, **keys: Any) -> Params:
    """A pre-training of the name of its method, eight images a batch."""
    section = {"images": "crops", "method": method, "options": METHODS[method], "batch": 8} | keys
    return with_values(params, {"pretrain": {method: section}})


@pytest.fixture(scope="session")
def images(tiny_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny people without their names: 24 images."""
    folder = tmp_path_factory.mktemp("unlabelled")
    rows, _ = unlabelled_rows(tiny_catalog, folder.resolve(), {})
    write_catalog(rows, folder / "catalog.parquet")
    return folder / "catalog.parquet"


class InterruptedRunError(Exception):
    pass


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_between_two_checkpoints_it_ends_with_the_same_bits(
    method: str, tiny_params: Params, images: Path, tmp_path: Path
) -> None:
    params = pretraining(tiny_params, method)

    def stop_at(wanted: int) -> Any:
        def stop(step: int, _: int) -> None:
            if step == wanted:
                raise InterruptedRunError

        return stop

    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    run_training(params, method, images, tmp_path / "whole")
    for wanted in (3, 5):
        with pytest.raises(InterruptedRunError):
            run_training(params, method, images, tmp_path / "resumed", on_step=stop_at(wanted))
    run_training(params, method, images, tmp_path / "resumed")
    for name in ("model.safetensors", "objective.safetensors"):
        whole, resumed = ((tmp_path / run / name).read_bytes() for run in ("whole", "resumed"))
        assert whole == resumed, name


def run_in_a_process(params: dict[str, Any], images: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    run_training(parse_params(params), "moco", images, folder)


def test_killed_by_the_system_it_ends_with_the_same_bits(
    forks: ForkServerContext, tiny_params: Params, images: Path, tmp_path: Path
) -> None:
    """MoCo has the most to lose: the queue, its place, the keys' network and the keys' head."""
    params = pretraining(with_values(tiny_params, {"train.epoch_steps": 1}), "moco")

    def started(folder: Path) -> Any:
        folder.mkdir(exist_ok=True)
        process = forks.Process(
            target=run_in_a_process, args=(params.model_dump(mode="json"), images, folder), daemon=True
        )
        process.start()
        return process

    whole = started(tmp_path / "whole")
    whole.join(120)
    kills = 0
    for _ in range(2):
        process, checkpoint = started(tmp_path / "killed"), tmp_path / "killed/checkpoint.safetensors"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.is_alive():
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                process.kill()
                kills += 1
                break
        process.join(120)
    last = started(tmp_path / "killed")
    last.join(120)
    assert (whole.exitcode, last.exitcode, kills) == (0, 0, 2)
    for name in ("model.safetensors", "objective.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_keys_are_of_the_averaged_network_by_its_running_statistics(
    tiny_params: Params, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = pretraining(with_values(tiny_params, {"train.precision": "float32"}), "moco")
    data = load_training_data(images, 32, 16)
    torch.manual_seed(3)
    model = build_model(ModelSpec(weights="none", height=32, width=16))
    objective, plan = loss_and_batches(params, "moco", 24, model.dim)
    keyed: list[EmbeddingModel] = []
    features: list[tuple[torch.Tensor, torch.Tensor]] = []
    make = loop.key_pass

    def recorded(network: EmbeddingModel, half: bool) -> Any:
        keyed.append(network)
        keys = make(network, half)

        def key_features(pixels: torch.Tensor) -> torch.Tensor:
            found = keys(pixels)
            network.eval()
            # An image's key does not depend on what else is in its batch.
            with torch.no_grad():
                features.append((found, torch.cat([network(one[None]) for one in pixels])))
            assert not found.requires_grad
            return found

        return key_features

    monkeypatch.setattr(loop, "key_pass", recorded)
    result, _ = loop.train(model, objective, data, settings_of(params, "moco"), seed=1, plan=plan)
    assert keyed == [result]
    assert len(features) == 6
    for found, alone in features:
        torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "keys", "message"),
    [
        (
            "moco",
            {"options": {"queue": 100}},
            "a queue of 100 is no multiple of the batch of 8: take 96 or 104",
        ),
        ("moco", {"ema": 0.0}, "moco: the momentum (ema) is 0.0: take one between 0 and 1, such as 0.99"),
        ("simclr", {"options": {"queue": 8}}, "loss nt_xent has no option 'queue': it takes embedding_dim"),
        ("simsiam", {"options": {"projection": "x"}}, "loss simsiam: the option 'projection' is 'x'"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    method: str, keys: dict[str, Any], message: str, tiny_params: Params
) -> None:
    with pytest.raises(UsageError) as caught:
        check_objective(pretraining(tiny_params, method, **keys), method)
    assert str(caught.value).startswith(f"pretrain.{method}: {message}")
    assert "\n" not in str(caught.value)


def test_fewer_images_than_a_batch_are_one_line(tiny_params: Params, images: Path) -> None:
    params = pretraining(tiny_params, "simclr", batch=25)
    with pytest.raises(
        ReidError, match=r"^pretrain.simclr: sampler views: 24 images are fewer than a batch of"
    ):
        check_catalog(params, "simclr", read_catalog(images))
    check_catalog(pretraining(tiny_params, "simclr", batch=24), "simclr", read_catalog(images))


def test_a_sweep_may_search_what_a_pre_training_says(tiny_params: Params) -> None:
    params = pretraining(tiny_params, "moco")
    space = {
        "pretrain.moco.batch": {"choice": [4, 6]},
        "pretrain.moco.options.temperature": {"uniform": [0.1, 1]},
    }
    check_space(with_values(params, {"tune.space": space}), "moco")
    space["pretrain.moco.batch"] = {"choice": [4, 7]}
    with pytest.raises(UsageError, match=r"^tune.space.pretrain.moco.batch, 7: pretrain.moco: a queue of 24"):
        check_space(with_values(params, {"tune.space": space}), "moco")


def test_the_momentum_is_that_of_the_averaged_weights(tiny_params: Params) -> None:
    for keys, wanted in (({}, tiny_params.train.ema), ({"ema": 0.5}, 0.5)):
        params = pretraining(tiny_params, "moco", **keys)
        assert settings_of(params, "moco").ema == wanted
        assert objective_of(params, "moco").terms["moco"].options["momentum"] == wanted


def test_a_start_of_another_backbone_is_one_line(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    spec = ModelSpec("resnet18", "none", 32, 16)
    save_model(build_model(spec), spec, tmp_path / "model.safetensors")
    with pytest.raises(
        ReidError, match=r"start \S+ is of backbone resnet18, model.backbone is mobilenet_v2: "
    ):
        run_training(tiny_params, "batch_hard", tiny_catalog, tmp_path, start=tmp_path / "model.safetensors")


# --- what is learned


def rendered(people: range, cameras: tuple[int, ...], images: int) -> tuple[Any, Any]:
    """(N, 64, 32, 3) pictures of rendered people, and who they are."""
    spec = TownSpec(people=people.stop, cameras=2, images_per_camera=images, seed=5)
    keys = [(person, camera, n) for person in people for camera in cameras for n in range(images)]
    pictures = np.stack([resize(render_crop(spec, *key), 64, 32) for key in keys])
    return pictures, np.asarray([str(key[0]) for key in keys])


def small_network() -> EmbeddingModel:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return EmbeddingModel(nn.Sequential(*layers), 64)


@pytest.fixture(scope="module")
def people() -> tuple[TrainingData, Any, Any]:
    """Crops of 40 rendered people, each its own label; crops of 20 others, and who they are."""
    pictures, _ = rendered(range(1, 41), (1, 2), 2)
    rows = np.arange(len(pictures))
    nobody = np.asarray([], np.str_)
    paths = [Path(f"{row}.jpg") for row in rows]
    data = TrainingData(pictures, rows, rows.astype(np.str_), paths, pictures[:0], nobody, nobody)
    return data, *rendered(range(41, 61), (1,), 4)


def views_told(model: EmbeddingModel, pictures: Any) -> float:
    """How often two views of one image are nearer than views of two images: the area under the ROC curve."""
    how = Augmentation(min_crop=0.4, colour_jitter=0.3, pad_crop=4)
    generator = torch.Generator().manual_seed(1)
    seen = [augment(torch.from_numpy(pictures), how, generator).numpy() for _ in range(2)]
    first, second = (embed_images(model, view) for view in seen)
    cosine = first @ second.T
    others = cosine[~np.eye(len(cosine), dtype=bool)]
    return float((cosine.diagonal()[:, None] > others).mean())


def people_found(model: EmbeddingModel, pictures: Any, identities: Any) -> float:
    """Mean average precision, every image asking all others of the same camera."""
    everyone = embed_images(model, pictures), identities, np.arange(len(identities)).astype(np.str_)
    return float(rank_gallery(*everyone, *everyone).mean_ap)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_learned_without_names_holds_for_people_never_seen(
    method: str, people: tuple[TrainingData, Any, Any], tiny_params: Params
) -> None:
    data, pictures, identities = people
    torch.set_num_threads(1)
    longer = {"train.steps": 120, "train.epoch_steps": 120, "train.learning_rate": 1e-3, "train.pad_crop": 4}
    keys = {"batch": 32, "options": {"queue": 96} if method == "moco" else {}, "ema": 0.9}
    softly = {"min_crop": 0.5, "colour_jitter": 0.2, "grey": 0.0, "erasing": 0.0}
    params = pretraining(with_values(tiny_params, longer), method, **keys, **softly)
    model = small_network()
    objective, plan = loss_and_batches(params, method, len(data.labels), model.dim)
    before = views_told(model, pictures), people_found(model, pictures, identities)
    figures: list[dict[str, float]] = []
    result, _ = loop.train(
        model,
        objective,
        data,
        settings_of(params, method),
        seed=1,
        plan=plan,
        on_epoch=lambda epoch: figures.append(epoch.figures),
    )
    after = views_told(result, pictures), people_found(result, pictures, identities)
    assert after[0] > before[0] + 0.06
    if method == "simclr":
        assert after[1] > before[1] + 0.05
    assert collapse(figures[-1]) is None


def test_the_whole_network_learns_whatever_the_objectives_hold_back(tiny_params: Params) -> None:
    params = with_values(
        tiny_params,
        {
            "train.freeze_blocks": 3,
            "train.freeze_steps": 10,
            "train.layer_decay": 0.8,
            "train.self_distillation": 1.0,
            "train.auto_augment": 0.5,
        },
    )
    own = PretrainParams(images="crops", method="simclr", compression=0.2)
    settings = settings_of(params.model_copy(update={"pretrain": {"views": own}}), "views")
    assert (settings.freeze_blocks, settings.freeze_steps, settings.layer_decay) == (0, 0, 1.0)
    assert (settings.compression, settings.auto_augment, settings.self_distillation) == (0.2, 0, 0)
