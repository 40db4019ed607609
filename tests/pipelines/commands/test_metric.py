"""``reid metric fit``: a model directory and pictures in, a model directory with a metric inside out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from pipelines.model.metric import choose_groups
from reid.card import GroupRecord, MetricRecord, load_card, save_card
from reid.data.catalog import write_catalog
from reid.data.synthetic.crops import render_crop
from reid.data.synthetic.spec import TownSpec
from reid.files import sha256_of
from reid.linear_metric import fit_metric
from serving.embedding import embed_files
from serving.runtime import load
from tests.serving.tiny_models import HEIGHT, WIDTH, tiny_graph, tiny_model, with_self_test

PATTERN = r"^(?P<identity>p\d+)_c(?P<camera>\d)_"
PEOPLE, CAMERAS, SHOTS, DIM = 10, 2, 3, 24
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten rendered people in two cameras."""
    folder = tmp_path_factory.mktemp("metric") / "images"
    folder.mkdir()
    town = TownSpec(people=PEOPLE, cameras=CAMERAS, footage_people=1, seed=3, image_height=32, image_width=32)
    for person in range(1, PEOPLE + 1):
        for camera in range(1, CAMERAS + 1):
            for shot in range(SHOTS):
                crop = cv2.resize(render_crop(town, person, camera, shot), (WIDTH, HEIGHT))
                cv2.imwrite(str(folder / f"p{person:02}_c{camera}_{shot}.png"), crop[..., ::-1])
    return folder


@pytest.fixture
def run(reid: Run) -> Run:
    return lambda *words: reid("metric", "fit", *words, "--backend", "onnxruntime")


def catalog_of(images: Path, path: Path, split: Callable[[str], str]) -> Path:
    rows: list[dict[str, object]] = [
        {"path": str(file), "identity": file.name[:3], "camera": file.name[5], "split": split(file.name[:3])}
        | {"width": WIDTH, "height": HEIGHT, "sha256": sha256_of(file)}
        for file in sorted(images.glob("*.png"))
    ]
    write_catalog(rows, path)
    return path


@pytest.mark.parametrize(
    ("method", "options"),
    [("xqda", {}), ("kissme", {"dim": 8}), ("lmnn", {}), ("xqda", {"landmarks": 20})],
    ids=["xqda", "kissme", "lmnn", "kernel"],
)
def test_the_new_model_gives_l_of_the_old_ones_embeddings(
    images: Path,
    tmp_path: Path,
    run: Run,
    method: Any,
    options: dict[str, int],
) -> None:
    # Figures of the old embeddings, which are not those of the new ones.
    measured = GroupRecord(people=5, images=40, seed=1, groups=())
    model, out = with_self_test(tmp_path / "model", dim=DIM, card={"by_group": measured}), tmp_path / "fitted"
    words: list[object] = [f"--{key}={value}" for key, value in options.items()]
    words += ["--kernel", "nystroem"] if "landmarks" in options else []
    code, said, told = run(
        model, "--root", images, "--pattern", PATTERN, "--method", method, "--out", out, *words
    )
    assert code == 0, told
    assert "2 of 10 people are held out" in told and f"{method} " in said.replace(",", " ")
    groups = choose_groups(images, PATTERN, None, 0.25, 0)
    old = embed_files(load(model, "onnxruntime"), groups.training.paths).embeddings
    people = groups.training
    fitted = fit_metric(old, people.identities, people.cameras, method, **options).metric
    new = embed_files(load(out, "onnxruntime"), people.paths).embeddings
    np.testing.assert_allclose(new, fitted.apply(old), atol=1e-4)
    card, before = load_card(out), load_card(model)
    record = card.fitted_metric
    assert record is not None and record.mean_ap is not None
    assert (card.dim, card.normalised, card.name) == (fitted.dim, True, before.name)
    assert (record.method, record.people, record.held_out_people, record.images) == (method, 8, 2, 48)
    assert record.fitted_to == before.fingerprint != card.fingerprint
    assert before.by_group == measured and card.by_group is None
    assert {(one.policy, one.unit) for one in card.thresholds} == {
        (p, u) for p in ("min", "mean", "top_k") for u in ("image", "tracklet")
    }


def test_galleries_evaluation_and_checks_take_it_as_any_model(
    images: Path, tmp_path: Path, run: Run, reid: Run
) -> None:
    model, out = with_self_test(tmp_path / "model", dim=DIM), tmp_path / "fitted"
    code, said, _ = run(
        model, "--root", images, "--pattern", PATTERN, "--out", out, "--method", "xqda", "--json"
    )
    value = json.loads(said)
    assert code == 0 and value["fingerprint"] == load_card(out).fingerprint
    assert reid("models", "check", out)[0] == 0
    assert "fitted_metric: " in reid("models", "show", out)[1]
    judged = ["--root", images, "--pattern", PATTERN, "--query-cameras", 1, "--gallery-cameras", 2]
    aps = [
        json.loads(reid("evaluate", "--model", one, *judged, "--backend", "onnxruntime", "--json")[1])
        for one in (model, out)
    ]
    assert aps[1]["ranking"]["mean_ap"] > aps[0]["ranking"]["mean_ap"]
    people = tmp_path / "people"
    for file in images.glob("*_c1_*.png"):
        (people / file.name[:3]).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, people / file.name[:3])
    gallery = tmp_path / "gallery.db"
    assert reid("gallery", "enroll", gallery, people, "--model", out, "--backend", "onnxruntime")[0] == 0
    picture = next(images.glob("p04_c2_*.png"))
    asked = ["gallery", "identify", gallery, picture, "--backend", "onnxruntime"]
    code, said, told = reid(*asked, "--model", out, "--json")
    assert code == 0, told
    assert json.loads(said)
    code, _, told = reid(*asked, "--model", model, "--threshold", 0.5)
    assert code == 1 and told.count("\n") == 1  # distances of the one say nothing of the other


def test_of_a_catalog_nobody_of_query_and_gallery_is_seen(images: Path, tmp_path: Path, run: Run) -> None:
    model, out = tiny_model(tmp_path / "model", dim=DIM), tmp_path / "fitted"

    def split(name: str) -> str:
        return "train" if name < "p06" else "val" if name < "p09" else "gallery"

    catalog = catalog_of(images, tmp_path / "catalog.parquet", split)
    code, said, told = run(model, "--catalog", catalog, "--out", out)
    assert code == 0, told
    record = load_card(out).fitted_metric
    assert record is not None and (record.people, record.held_out_people) == (5, 3)
    assert "held out, to judge" not in told
    assert "mAP of 3 held-out people" in said
    code, _, told = run(
        model,
        "--catalog",
        catalog_of(images, tmp_path / "c.parquet", lambda _: "query"),
        "--out",
        tmp_path / "x",
    )
    assert (code, told.count("\n")) == (1, 1) and "has nobody in the splits train and val" in told


def test_a_precision_that_strays_is_left_out_and_so_is_what_cannot_be_added_to(
    images: Path, tmp_path: Path, run: Run
) -> None:
    model = with_self_test(tmp_path / "model", dim=DIM)
    other = tiny_graph(dim=DIM)
    rng = np.random.default_rng(1)
    weight = next(one for one in other.graph.initializer if one.name == "weight")
    weight.CopyFrom(
        onnx.numpy_helper.from_array(rng.standard_normal((3 * HEIGHT, DIM)).astype(np.float32), "weight")
    )
    onnx.save(other, model / "model.int8.onnx")
    shutil.copy(model / "model.onnx", model / "model.fp16.onnx")
    (model / "model.plan").write_bytes(b"an engine")
    (model / "pair_metric.safetensors").write_bytes(b"g")
    card = load_card(model)
    files = {
        role: card.files["fp32"].model_copy(update={"path": name, "sha256": sha256_of(model / name)})
        for role, name in (
            ("fp16", "model.fp16.onnx"),
            ("int8", "model.int8.onnx"),
            ("engine_fp32", "model.plan"),
        )
    }
    save_card(card.model_copy(update={"files": {**card.files, **files}}), model)
    code, _, told = run(model, "--root", images, "--pattern", PATTERN, "--out", tmp_path / "fitted")
    assert code == 0, told
    new = load_card(tmp_path / "fitted")
    assert set(new.files) == {"fp32", "fp16"}
    assert "model.int8.onnx in onnxruntime strays from the trained model" in new.left_out["int8"]
    assert new.self_test is not None and set(new.self_test.lowest) == {"fp32", "fp16"}
    assert {path.name for path in (tmp_path / "fitted").iterdir()} == {
        "model.json",
        "model.onnx",
        "model.fp16.onnx",
        "self_test.safetensors",
    }
    said = told.replace("\n", " ")
    assert "engines are left out" in said and "pair metric is left out" in said and "int8 is left out" in said


def test_an_openvino_model_gets_one_too(images: Path, tmp_path: Path, reid: Run) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    onnx.save(tiny_graph(dim=DIM), tmp_path / "tiny.onnx")
    openvino.save_model(openvino.Core().read_model(tmp_path / "tiny.onnx"), tmp_path / "tiny.xml", False)
    assert reid("models", "import", tmp_path / "tiny.xml", "--out", tmp_path / "model")[0] == 0
    words = ["--root", images, "--pattern", PATTERN, "--out", tmp_path / "fitted"]
    code, _, told = reid("metric", "fit", tmp_path / "model", *words)
    assert code == 0, told
    assert set(load_card(tmp_path / "fitted").files) == {"openvino"}
    assert reid("models", "check", tmp_path / "fitted")[0] == 0


def test_what_cannot_be_is_one_line_and_leaves_nothing(images: Path, tmp_path: Path, run: Run) -> None:
    model, out = tiny_model(tmp_path / "model", dim=DIM), tmp_path / "fitted"

    def refused(code: int, words: str, *options: object, source: Path = model, root: Path = images) -> None:
        got, _, told = run(source, "--root", root, "--pattern", PATTERN, "--out", out, *options)
        assert got == code and told.splitlines()[-1].startswith("reid: ") and words in told, told
        assert not out.exists()

    refused(2, "dim is 25: want 1 to 24, the numbers of the embedding", "--dim", 25)
    refused(2, "--held-out is 1", "--held-out", 1)
    one_camera = tmp_path / "one"
    one_camera.mkdir()
    for file in images.glob("*_c1_*.png"):
        shutil.copy(file, one_camera)
    refused(1, "nobody is seen by two cameras, and xqda learns", root=one_camera)
    few = tmp_path / "few"
    few.mkdir()
    for file in images.glob("p0[123]_*.png"):
        shutil.copy(file, few)
    refused(1, "people with pictures to fit to: a metric wants some hundred", root=few)
    # Seen before anybody is embedded: this model could not be run.
    unread = tiny_model(tmp_path / "unread", dim=DIM)
    (unread / "model.onnx").write_bytes(b"no graph")
    refused(2, "dim is 25: want 1 to 24, the numbers of the embedding", "--dim", 25, source=unread)
    kernel = ("--kernel", "nystroem", "--landmarks", 30)
    refused(2, "dim is 31: want 1 to 30, the features of the kernel", "--dim", 31, *kernel, source=unread)
    of_all = ("--kernel", "nystroem")  # 512 landmarks, and 8 people with 6 pictures each
    refused(2, "dim is 49: want 1 to 48, the features of the kernel", "--dim", 49, *of_all, source=unread)
    refused(1, "nobody is seen by two cameras, and xqda learns", source=unread, root=one_camera)
    refused(1, "model.onnx", "--dim", 24, source=unread)
    record = MetricRecord(
        method="lmnn",
        shrinkage=0.1,
        fitted_to="earlier",
        data_hash="",
        images=1,
        people=1,
        cameras=1,
        held_out_people=1,
    )
    done = tiny_model(tmp_path / "done", dim=DIM, card={"fitted_metric": record})
    refused(1, "has a fitted metric already (lmnn): fit to the model that it was fitted to", source=done)
    # Of two things that are wrong the place is named, for it is looked at before the people.
    code, _, told = run(model, "--root", few, "--pattern", PATTERN, "--out", model)
    assert code == 2 and "is the model itself" in told and "held out" not in told
    code, _, told = run(model, "--root", images, "--pattern", PATTERN, "--out", images)
    assert code == 2 and "is no model directory" in told and len(list(images.glob("*.png"))) == 60
