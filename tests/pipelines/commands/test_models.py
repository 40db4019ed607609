"""``reid models fetch``, ``list`` and ``show``; the publishers' own addresses are not asked here."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

import reid.shipped
from reid.card import GroupFigure, GroupRecord, load_card
from reid.public import public_models
from tests.reid.public.model_server import serving
from tests.serving.tiny_models import tiny_model

NAME = "osnet_x0_25_msmt17"
CONTENT = b"weights of nobody" * 999


@pytest.fixture
def run(reid: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: reid("models", *words)


def test_the_list_is_whole_and_invents_no_hash() -> None:
    models = public_models()
    assert {"osnet_x1_0_msmt17", "person-reidentification-retail-0287", "yolox_nano"} <= models.keys()
    assert {"pedestrian-detection-adas-0002", "person-detection-retail-0013"} <= models.keys()
    assert {f"person-reidentification-retail-02{n}" for n in (77, 86, 87, 88)} <= models.keys()
    for name in ("person-detection-0200", "person-detection-0201", "person-detection-0202"):
        assert "person_class: 0" in models[name].use.format(folder="w")
    digests = [file.digest[1] for model in models.values() for file in model.files if file.digest]
    assert len(set(digests)) == len(digests)
    addresses = [file.url for model in models.values() for file in model.files]
    assert len(set(addresses)) == len(addresses)
    for name, model in models.items():
        assert model.licence, name
        assert "{folder}" in model.use, name
        assert all(file.bytes for file in model.files if file.digest), name


def test_every_architecture_that_the_list_says_can_be_imported() -> None:
    from reid.models.published import PUBLISHED

    said = [model.use.partition("--architecture ")[2].split(" ")[0] for model in public_models().values()]
    assert {name for name in said if name} <= {key.partition(":")[2] for key in PUBLISHED}


def test_fetched_from_a_mirror_recorded_and_not_again(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    with serving() as server:
        server.files[f"/models/{NAME}/{NAME}.pth"] = CONTENT
        server.cuts = [7000]
        words = ("fetch", NAME, "--out", tmp_path / "weights", "--mirror", f"{server.url}/models/")
        code, said, _ = run(*words)
        assert code == 0
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        path = tmp_path / "weights" / NAME / f"{NAME}.pth"
        assert path.read_bytes() == CONTENT
        assert f"{path}: sha256 {sha256}, no published hash\n" in said
        assert f"reid models import {path} --architecture osnet_x0_25 --out {NAME}" in said
        record = json.loads((path.parent / "fetched.json").read_text())["files"][path.name]
        assert (record["sha256"], record["from"]) == (sha256, f"{server.url}/models/{NAME}/{NAME}.pth")
        server.asked.clear()
        assert run(*words)[1].startswith(f"{path}: sha256 {sha256}, no published hash, was there")
        assert server.asked == []
        path.write_bytes(b"something else")  # not what was fetched
        assert run(*words)[0] == 0
        assert path.read_bytes() == CONTENT


def test_a_file_that_is_not_the_published_one(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    name = "pedestrian-detection-adas-0002"
    with serving() as server:
        server.files[f"/{name}/{name}.xml"] = CONTENT
        code, _, problems = run("fetch", name, "--out", tmp_path, "--mirror", server.url)
    assert code == 1
    assert f"{name}.xml has the SHA256 " in problems
    assert list((tmp_path / name).iterdir()) == []


def test_from_a_file_or_a_folder_that_is_here(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    assert run("fetch", NAME, "--out", tmp_path / "w", "--from", tmp_path / "mine.pth")[0] == 0
    assert (tmp_path / "w" / NAME / f"{NAME}.pth").read_bytes() == CONTENT
    name = "person-reidentification-retail-0287"
    code, _, problems = run("fetch", name, "--out", tmp_path / "w", "--from", tmp_path / "mine.pth")
    assert (code, problems.count("\n")) == (2, 1)
    assert f"is one file, and the model has {name}.xml, {name}.bin: name the folder" in problems
    (tmp_path / f"{name}.xml").write_bytes(CONTENT)
    code, _, problems = run("fetch", name, "--out", tmp_path / "w", "--from", tmp_path)
    assert code == 1
    assert f"{tmp_path / name}.xml has the SHA384" in problems
    assert not (tmp_path / "w" / name / f"{name}.xml").exists()


@pytest.mark.footage
def test_a_real_file_has_the_hash_that_its_publisher_lists(tmp_path: Path, shared: Path, run) -> None:  # type: ignore[no-untyped-def]
    name = "person-reidentification-retail-0287"
    code, said, _ = run("fetch", name, "--out", tmp_path, "--from", shared / "models" / name / "FP32")
    assert code == 0
    assert said.count("checked (") == 2
    assert sorted(path.suffix for path in (tmp_path / name).iterdir()) == [".bin", ".json", ".xml"]


def test_the_imagenet_weights_of_a_backbone(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    assert run("fetch", "mobilenet_v2", "--out", tmp_path)[0] == 0
    assert "features.0.0.weight" in load_file(tmp_path / "mobilenet_v2.safetensors")
    code, _, problems = run("fetch", "mobilenet_v2", "--out", tmp_path, "--mirror", "http://127.0.0.1:9")
    assert code == 2
    assert "no public model is named 'mobilenet_v2'" in problems
    assert "choose timm:NAME or one of resnet18, " in run("fetch", "resnet9000", "--out", tmp_path)[2]


def test_list_and_show(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    listed = json.loads(run("list", "--json")[1])["models"]
    assert listed.keys() == public_models().keys() | {"rendered"}
    assert "osnet_x0_25_msmt17" in run("list")[1]
    said = run("show", NAME)[1]
    assert "no published hash" in said
    assert "licence: research alone (" in said
    # What may not be used in a product is told in the list too.
    assert " none  research alone\n" in run("list")[1]
    assert "hash from: two public lists" in run("show", "yolox_nano")[1]
    code, _, problems = run("show", "nobody")
    assert (code, problems.count("\n")) == (2, 1)
    assert "`reid models list` names them" in problems
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        code, _, problems = run("show", tmp_path / name)
        assert (code, problems.count("\n")) == (2, 1)
        assert "and no model directory lies there" in problems


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny model in it."""
    figure = GroupFigure(of="skin", group="dark", queries=20, rank1=0.75, mean_ap=0.5)
    record = GroupRecord(people=5, images=40, seed=1, groups=(figure,))
    card = {"licence": "MIT", "about": "for tests", "by_group": record}
    folder = tiny_model(tmp_path / "package" / "rendered", card=card)
    monkeypatch.setattr(reid.shipped, "_FOLDER", folder.parent)
    monkeypatch.chdir(tmp_path)
    return folder


def test_it_is_listed_shown_and_copied(shipped: Path, run) -> None:  # type: ignore[no-untyped-def]
    _, said, _ = run("list")
    assert said.splitlines()[1].split()[:2] == ["rendered", "shipped"]
    models = json.loads(run("list", "--json")[1])["models"]
    size = sum(path.stat().st_size for path in shipped.iterdir())
    assert models["rendered"] == {"kind": "embedder", "about": "for tests", "licence": "MIT", "bytes": size}
    said = run("show", "rendered")[1]
    assert "about: for tests" in said
    assert "\nby group: 5 rendered people of seed 1, 40 pictures" in said
    assert "\nskin dark: rank-1 0.750, mAP 0.500, 20 queries\n" in said
    assert json.loads(run("show", "rendered", "--json")[1])["by_group"]["groups"][0]["mean_ap"] == 0.5
    assert run("fetch", "rendered")[:2] == (0, "weights/rendered\n")
    assert load_card("weights/rendered") == load_card(shipped)
    # A copy may hold thresholds of its owner's by now.
    Path("weights/rendered/model.json").write_text("mine")
    assert "weights/rendered is there already" in run("fetch", "rendered")[2]
    assert Path("weights/rendered/model.json").read_text() == "mine"
    said = run("fetch", "rendered", "--from", "elsewhere")[2]
    assert "rendered comes with the package: leave --mirror and --from out" in said


def test_no_threshold_is_written_into_it(shipped: Path, reid) -> None:  # type: ignore[no-untyped-def]
    before = (shipped / "model.json").read_bytes()
    code, _, problem = reid("calibrate", "rendered", "--root", ".", "--pattern", "(?P<identity>x)")
    assert code and "comes with the package and stays as it is" in problem
    assert (shipped / "model.json").read_bytes() == before
