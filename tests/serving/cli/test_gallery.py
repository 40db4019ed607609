import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from reid.errors import UsageError
from serving.gallery import Gallery
from tests.serving.cipher import needs_cipher
from tests.serving.cli.commands import answer, fails, reid
from tests.serving.images import named_images, write_images
from tests.serving.rows import unit_rows
from tests.serving.tiny_models import tiny_model


def names(gallery: Path) -> dict[str, int]:
    return {person["identity"]: person["references"] for person in answer("list", gallery)["people"]}


def test_the_life_of_a_gallery(tmp_path: Path, gallery: Path, model: Path) -> None:
    assert names(gallery) == {"anna": 2, "bert": 1}
    assert answer("list", gallery)["retain_days"] == 30
    assert answer("list", gallery)["model"] == "tiny-1"
    named_images(tmp_path / "more" / "carl", ["x.png"], seed=4)
    enrolled = answer("enroll", gallery, tmp_path / "more", "--model", model)
    assert enrolled["enrolled"] == {"carl": 1}
    assert [one["source"] for one in answer("show", gallery, "carl")["references"]] == [
        str(tmp_path / "more" / "carl" / "x.png")
    ]
    assert answer("rename", gallery, "carl", "Carl C")["identity"] == "Carl C"
    assert answer("merge", gallery, "Carl C", "bert")["version"] == enrolled["version"] + 2
    assert names(gallery) == {"anna": 2, "bert": 2}
    assert answer("remove", gallery, "anna") == {"removed": {"anna": 2}, "purged": True}
    assert answer("export", gallery, tmp_path / "all.parquet")["references"] == 2
    assert pq.read_table(tmp_path / "all.parquet")["identity"].to_pylist() == ["bert", "bert"]
    assert answer("expire", gallery)["removed"] == {}
    assert answer("retention", gallery, "forever")["retain_days"] is None
    assert answer("expire", gallery, "--now", "2099-01-01")["removed"] == {}
    assert answer("retention", gallery, 10)["retain_days"] == 10
    assert answer("expire", gallery, "--now", "2099-01-01")["removed"] == {"bert": 2}
    assert answer("verify", gallery)["problems"] == []
    actions = [entry["action"] for entry in answer("audit", gallery)["entries"]]
    assert actions == [
        "retention",
        "enroll",
        "enroll",
        "enroll",
        "rename",
        "merge",
        "remove",
        "export",
        "retention",
        "retention",
        "expire",
    ]


def test_enrolling_says_what_it_leaves_out(tmp_path: Path, model: Path) -> None:
    folder = named_images(tmp_path / "images", ["anna_1.png", "-1_c1s1_000401_03.png"])
    (folder / "._anna_1.png").write_bytes(b"")
    result = reid("gallery", "enroll", tmp_path / "g.db", folder, "--model", model)
    assert (result.exit_code, names(tmp_path / "g.db")) == (0, {"anna": 1})
    lines = [line for line in result.stderr.splitlines() if "left out" in line]
    assert ["._anna_1.png" in lines[0], "identity -1 is junk" in lines[1]] == [True, True]
    result = reid("embed", folder, "-o", tmp_path / "e.parquet", "--model", model)
    assert (result.exit_code, "2 embeddings written" in result.stdout, "._anna_1.png" in result.stderr) == (
        0,
        True,
        True,
    )


def test_who_is_this(tmp_path: Path, gallery: Path, model: Path) -> None:
    images = tmp_path / "images"
    stranger = named_images(tmp_path / "more", ["x.png"], seed=9) / "x.png"
    value = answer("identify", gallery, images / "anna_1.png", stranger, "--model", model)
    assert (value["version"], value["policy"], value["threshold"]) == (3, "min", 1e-3)
    known, unknown = value["matches"]
    assert (known["image"], known["identity"], known["runner_up"]) == (
        str(images / "anna_1.png"),
        "anna",
        "bert",
    )
    assert known["margin"] == pytest.approx(known["runner_up_distance"] - known["distance"])
    assert (unknown["identity"], unknown["nearest"] in ("anna", "bert")) == ("unknown", True)
    both = [images / "anna_1.png", images / "anna_2.png"]
    pooled = answer(
        "identify", gallery, *both, "--model", model, "--tracklet", "--policy", "mean", "--threshold", 0.5
    )
    assert [(one["image"], one["identity"]) for one in pooled["matches"]] == [("2 images", "anna")]
    assert "no calibrated threshold for policy mean, unit image" in str(
        fails("gallery", "identify", gallery, stranger, "--model", model, "--policy", "mean")
    )
    result = reid("gallery", "identify", gallery, images, "--model", model)
    assert result.exit_code == 0
    assert "its distance" in result.stdout
    stranger.write_bytes(b"")
    result = reid("gallery", "identify", gallery, images / "bert_1.png", stranger, "--model", model, "--json")
    assert (result.exit_code, json.loads(result.stdout)["unreadable"]) == (3, [str(stranger)])
    assert "x.png is empty" in str(fails("gallery", "identify", gallery, stranger, "--model", model))
    for name in ("anna", "bert"):
        answer("remove", gallery, name)
    nobody = answer("identify", gallery, images / "anna_1.png", "--model", model)["matches"][0]
    assert (nobody["identity"], nobody["distance"], nobody["margin"]) == ("unknown", None, 0.0)


def test_naming_with_the_learned_metric(tmp_path: Path, gallery: Path, model: Path) -> None:
    image = tmp_path / "images" / "anna_1.png"
    assert "has no learned metric" in str(
        fails("gallery", "identify", gallery, image, "--model", model, "--rescore")
    )
    # Takes the least alike for the most alike.
    weights = {"difference": np.full(6, -50, "f4"), "product": np.zeros(6, "f4"), "bias": np.array(0, "f4")}
    save_file(weights, model / "pair_metric.safetensors")
    plain, rescored = (
        answer("identify", gallery, image, "--model", model, "--threshold", 2, *more)["matches"][0]
        for more in ([], ["--rescore"])
    )
    assert (plain["identity"], plain["runner_up"], rescored["identity"], rescored["runner_up"]) == (
        "anna",
        "bert",
        "bert",
        "anna",
    )
    assert rescored["margin"] == pytest.approx(-plain["margin"])


def test_who_is_this_by_the_compact_index(tmp_path: Path, gallery: Path, model: Path) -> None:
    image = tmp_path / "images" / "anna_1.png"
    assert "has no index: build one with" in str(
        fails("gallery", "identify", gallery, image, "--model", model, "--compact")
    )
    message = "use it with policy min and without --rescore"
    assert message in str(
        fails("gallery", "identify", gallery, image, "--model", model, "--compact", "--policy", "mean")
    )
    with Gallery.open(gallery, None) as opened:
        dim = opened.references()[0].shape[1]
    with Gallery.open(gallery, "tiny-1") as opened:
        opened.enroll([f"p{row}" for row in range(600)], unit_rows(600, dim))
    built = answer("index", gallery, "fp16")
    assert (built["kind"], built["references"]) == ("fp16", 603)
    assert "fp16 index of 603 references" in reid("gallery", "index", gallery, "fp16").stdout
    exact, compact = (
        answer("identify", gallery, image, "--model", model, *more)["matches"] for more in ([], ["--compact"])
    )
    assert exact[0]["identity"] == "anna"
    assert compact[0] == pytest.approx(exact[0], abs=1e-6)
    assert answer("index", gallery, "none")["dropped"] is True


def test_two_images_are_compared_without_a_gallery(tmp_path: Path, gallery: Path, model: Path) -> None:
    one, other = tmp_path / "images" / "anna_1.png", tmp_path / "images" / "bert_1.png"
    assert answer("compare", one, one, "--model", model)["same"] is True
    pair = answer("compare", one, other, "--model", model)
    assert (pair["same"], pair["threshold"]) == (False, 1e-3)
    assert answer("compare", one, other, "--model", model, "--threshold", 2)["same"] is True
    assert "different people: distance" in reid("gallery", "compare", one, other, "--model", model).stdout
    other.write_bytes(b"text")
    assert "bert_1.png is not an image" in str(fails("gallery", "compare", one, other, "--model", model))


def test_a_gallery_moves_to_a_new_model_and_a_new_file(tmp_path: Path, gallery: Path, model: Path) -> None:
    ids = [one["id"] for one in answer("show", gallery, "anna")["references"]]
    assert answer("split", gallery, "anna", "dora", "--reference", ids[1])["references"] == 1
    assert names(gallery) == {"anna": 1, "bert": 1, "dora": 1}
    assert "has no reference 99" in str(fails("gallery", "split", gallery, "bert", "eve", "--reference", 99))
    following = tiny_model(tmp_path / "next", card={"fingerprint": "tiny-2"})
    assert answer("reembed", gallery, "--model", following) | {"version": 0} == {
        "embedded": 3,
        "missing": 0,
        "unreadable": [],
        "fingerprint": "tiny-2",
        "switched": False,
        "version": 0,
    }
    assert [(one["fingerprint"], one["active"]) for one in answer("models", gallery)["models"]] == [
        ("tiny-1", True),
        ("tiny-2", False),
    ]
    assert answer("switch", gallery, "tiny-2")["fingerprint"] == "tiny-2"
    assert answer("forget", gallery, "tiny-1")["purged"] is True
    assert "tiny-2" in reid("gallery", "models", gallery).stdout
    answer("export", gallery, tmp_path / "all.parquet")
    assert answer("import", tmp_path / "copy.db", tmp_path / "all.parquet") | {"version": 0} == {
        "imported": 3,
        "already": 0,
        "version": 0,
    }
    assert answer("list", tmp_path / "copy.db")["retain_days"] == 30
    assert "an index wants 512 or more" in str(fails("gallery", "index", gallery, "ivf"))
    assert answer("index", gallery, "none")["dropped"] is False
    assert "there is no key: make one with" in str(fails("gallery", "encrypt", gallery, tmp_path / "safe.db"))
    (tmp_path / "images" / "anna_1.png").unlink()
    third = tiny_model(tmp_path / "third", card={"fingerprint": "tiny-3"})
    result = reid("gallery", "reembed", gallery, "--model", third, "--switch", "--json")
    assert (
        result.exit_code,
        json.loads(result.stdout)["missing"],
        json.loads(result.stdout)["switched"],
    ) == (3, 1, False)


@needs_cipher
def test_a_gallery_is_copied_under_a_key(
    tmp_path: Path, gallery: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer("key", tmp_path / "key")
    monkeypatch.setenv("REID_GALLERY_KEY_FILE", str(tmp_path / "key"))
    answer("encrypt", gallery, tmp_path / "safe.db")
    assert names(tmp_path / "safe.db") == {"anna": 2, "bert": 1}
    value = answer(
        "identify",
        tmp_path / "safe.db",
        tmp_path / "images" / "bert_1.png",
        "--model",
        model,
        "--threshold",
        0.01,
    )
    assert value["matches"][0]["identity"] == "bert"
    assert "is not encrypted although a key is given" in str(fails("gallery", "list", gallery))


def test_every_answer_can_be_read_by_people_too(tmp_path: Path, gallery: Path) -> None:
    for arguments, text in (
        (("list", gallery), "2 people, version 3, model tiny-1, references kept 30 days"),
        (("show", gallery, "anna"), "quality"),
        (("verify", gallery), "2 people, 3 references, version 3: all is well"),
        (("audit", gallery), "enroll"),
        (("rename", gallery, "anna", "[red]anne"), "anna is now [red]anne"),
        (("list", gallery), "[red]anne"),
        (("expire", gallery), "0 references removed"),
        (("remove", gallery, "bert"), "1 references removed (bert)"),
        (("export", gallery, tmp_path / "x.parquet"), "2 references written to"),
    ):
        result = reid("gallery", *arguments)
        assert result.exit_code == 0
        assert text in result.stdout


def test_what_could_not_be_enrolled_is_listed_and_the_exit_code_is_3(
    tmp_path: Path, gallery: Path, model: Path
) -> None:
    folder = named_images(tmp_path / "bad", ["dora_1.png", "nobody.png", "dora_2.png"], seed=3)
    (folder / "dora_2.png").write_bytes(b"text")
    (folder / "carl_1.png").write_bytes((tmp_path / "images" / "anna_1.png").read_bytes())
    result = reid("gallery", "enroll", gallery, folder, "--model", model, "--json")
    assert result.exit_code == 3
    value = json.loads(result.stdout)
    assert value["enrolled"] == {"carl": 1, "dora": 1}
    assert (value["unreadable"], value["skipped"]) == (
        [str(folder / "dora_2.png")],
        [str(folder / "nobody.png")],
    )
    assert "'carl' looks like 'anna'" in result.stderr
    assert "dora_2.png is not an image" in result.stderr
    assert "nobody.png: its name tells no person" in result.stderr


def test_bad_calls_say_what_is_wrong(tmp_path: Path, gallery: Path, model: Path) -> None:
    absent = tmp_path / "absent.db"
    for command in ("list", "verify", "expire", "audit"):
        assert "absent.db does not exist" in str(fails("gallery", command, absent))
    assert isinstance(fails("gallery", "list", absent), UsageError)
    assert "nobody named 'eve'" in str(fails("gallery", "remove", gallery, "eve"))
    assert "nobody named 'eve'" in str(fails("gallery", "show", gallery, "eve"))
    assert "not a moment" in str(fails("gallery", "expire", gallery, "--now", "soon"))
    assert "not understood" in str(fails("gallery", "retention", gallery, "-"))
    other = tiny_model(tmp_path / "other", card={"fingerprint": "tiny-2"})
    assert "embeddings of model tiny-1, not of tiny-2" in str(
        fails("gallery", "enroll", gallery, tmp_path / "images", "--model", other)
    )
    assert "'tpu' is unknown" in str(
        fails("gallery", "enroll", absent, tmp_path / "images", "--model", model, "--backend", "tpu")
    )
    assert not absent.exists()
    gallery.chmod(0o644)
    assert "run chmod 600" in str(fails("gallery", "list", gallery))


def test_verify_ends_with_1_when_a_row_is_damaged(gallery: Path) -> None:
    import sqlite3

    with sqlite3.connect(gallery) as db:
        db.execute("UPDATE refs SET sha256 = zeroblob(32) WHERE id = 1")
    result = reid("gallery", "verify", gallery)
    assert result.exit_code == 1
    assert "1 problems" in result.stdout
    assert "reference 1 of 'anna' differs from its hash" in result.stderr


def test_embed_writes_a_table_and_lists_what_is_no_image(tmp_path: Path, model: Path) -> None:
    paths = write_images(tmp_path / "images", 5)
    result = reid("embed", tmp_path / "images", "-o", tmp_path / "rows.parquet", "--model", model)
    assert result.exit_code == 0
    assert "5 embeddings written to" in result.stdout
    paths[1].write_bytes(b"text")
    result = reid("embed", *paths, "-o", tmp_path / "rows.parquet", "--model", model, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["unreadable"] == [str(paths[1])]
    assert f"{paths[1].name} is not an image" in result.stderr
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 4
    assert "does not exist" in str(
        fails("embed", tmp_path / "absent", "-o", tmp_path / "x.parquet", "--model", model)
    )
    assert "'fp8' is unknown" in str(
        fails("embed", paths[0], "-o", tmp_path / "x.parquet", "--model", model, "--precision", "fp8")
    )
    assert not (tmp_path / "x.parquet").exists()


def test_help_is_fast_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, serving.cli.gallery\n"
        "print([name for name in ('numpy', 'cv2', 'faiss', 'onnxruntime', 'pyarrow', 'rich.progress') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_identify_between_two_people_equally_near_is_unknown_as_in_a_job(
    gallery: Path, model: Path, tmp_path: Path
) -> None:
    """One picture under two names: the margin is 0, and nobody can say which of them it is."""
    image = tmp_path / "images" / "anna_1.png"
    folder = tmp_path / "twin"
    folder.mkdir()
    (folder / "cara_1.png").write_bytes(image.read_bytes())
    assert reid("gallery", "enroll", gallery, folder, "--model", model).exit_code == 0
    (match,) = answer("identify", gallery, image, "--model", model)["matches"]
    assert (match["identity"], match["margin"]) == ("unknown", 0)
    assert answer("identify", gallery, image, "--model", model, "--ratio-test", 1)["matches"][0][
        "identity"
    ] in ("anna", "cara")
    (other,) = answer("identify", gallery, tmp_path / "images" / "bert_1.png", "--model", model)["matches"]
    assert other["identity"] == "bert"
