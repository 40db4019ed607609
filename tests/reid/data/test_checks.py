from collections.abc import Callable
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reid.config import PolicyParams
from reid.data.catalog import Record
from reid.data.checks import inspect
from reid.data.datasets.files import Stray
from reid.data.findings import KINDS, Policy
from reid.data.near_duplicates import difference_hashes, near_duplicates
from reid.data.store import load_images
from reid.errors import ReidError

KEEP: dict[str, Policy] = {kind: "keep" if "keep" in KINDS[kind].choices else "leave_out" for kind in KINDS}


def noise(seed: int, size: tuple[int, int] = (32, 16)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def person(seed: int) -> np.ndarray:
    """A picture with large areas, as photographs have: noise would not survive compression."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 4, 3), np.uint8)
    return cv2.resize(coarse, (64, 128), interpolation=cv2.INTER_CUBIC)


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def png(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees
    lying = np.zeros((16, 32, 3), np.uint8)
    lying[:, :16] = (250, 0, 0)
    Image.fromarray(lying).save(path, exif=exif, quality=95)


BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "gone.png": ("unreadable", lambda path: None),
    "folder.png": ("unreadable", lambda path: path.mkdir()),
    "empty.jpg": ("empty", lambda path: path.write_bytes(b"")),
    "text.jpg": ("not_an_image", lambda path: path.write_text("holiday plans")),
    "page.png": ("not_an_image", lambda path: path.write_text("<html>404</html>")),
    "cut.jpg": ("truncated", lambda path: path.write_bytes(jpeg(person(1))[:-200])),
    "cut.png": ("truncated", lambda path: path.write_bytes(png(noise(1))[:-300])),
    "cut.bmp": ("truncated", lambda path: path.write_bytes(bytes(cv2.imencode(".bmp", noise(1))[1])[:-300])),
    "cut.webp": (
        "truncated",
        lambda path: path.write_bytes(bytes(cv2.imencode(".webp", person(2))[1])[:-100]),
    ),
    "tiny.png": ("tiny", lambda path: path.write_bytes(png(noise(2, (4, 4))))),
    "grey.png": ("non_rgb", lambda path: path.write_bytes(png(noise(3)[..., 0]))),
    "alpha.png": ("non_rgb", lambda path: path.write_bytes(png(np.dstack([noise(4), noise(5)[..., :1]])))),
    "deep.png": ("non_rgb", lambda path: path.write_bytes(png(noise(6)[..., 0].astype(np.uint16) * 257))),
    "cmyk.jpg": ("non_rgb", lambda path: Image.fromarray(noise(7)).convert("CMYK").save(path)),
    "palette.png": ("non_rgb", lambda path: Image.fromarray(noise(8)).quantize(16).save(path)),
    "lying.jpg": ("exif_rotated", rotated),
    "damaged.png": (
        "exif_damaged",
        lambda path: Image.fromarray(noise(10)).save(path, exif=b"Exif\0\0II*\0"),
    ),
}


@pytest.mark.parametrize(("name", "kind", "make"), [(name, *bad) for name, bad in BAD.items()], ids=list(BAD))
def test_every_kind_of_bad_file_is_listed_and_dealt_with(
    name: str, kind: str, make: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "good.png").write_bytes(png(noise(0)))
    make(tmp_path / name)
    records = [Record(tmp_path / "good.png", "a", "1", "train"), Record(tmp_path / name, "a", "2", "train")]
    for policy in KINDS[kind].choices:
        policies = KEEP | {kind: policy, "single_image": "keep"}
        if policy == "stop":
            with pytest.raises(ReidError, match=rf"{name}.*data\.policies\.{kind} to leave_out") as caught:
                inspect(records, tmp_path, policies)
            assert "\n" not in str(caught.value)
            continue
        done = inspect(records, tmp_path, policies)
        about = [problem for problem in done.problems if problem.what.endswith(name)]
        assert [(problem.kind, problem.policy) for problem in about] == [(kind, policy)]
        assert about[0].detail
        assert [row["path"] for row in done.rows] == (
            ["good.png", name] if policy == "keep" else ["good.png"]
        )
        assert len(done.rows) + sum(problem.images_out for problem in done.problems) == done.images_in == 2
        for row in done.rows:  # what is kept can be trained on
            assert load_images([tmp_path / str(row["path"])], 32, 16).shape == (1, 32, 16, 3)


def test_what_exif_says_is_applied(tmp_path: Path) -> None:
    rotated(tmp_path / "lying.jpg")
    done = inspect([Record(tmp_path / "lying.jpg", "a", "1", "train")], tmp_path, KEEP)
    assert (done.rows[0]["width"], done.rows[0]["height"]) == (16, 32)
    image = load_images([tmp_path / "lying.jpg"], 32, 16)[0]
    assert image[4, 8, 0] > 200
    assert image[28, 8, 0] < 50


def test_an_image_with_two_findings_is_left_out_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(9, (4, 4))[..., 0]))
    done = inspect(
        [Record(tmp_path / "a.png", "a", "1", "train")],
        tmp_path,
        KEEP | {"tiny": "leave_out", "non_rgb": "leave_out"},
    )
    assert [(problem.kind, problem.images_out) for problem in done.problems] == [("tiny", 1), ("non_rgb", 0)]


def test_progress_and_missing_values(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(0)))
    seen: list[tuple[int, int]] = []
    done = inspect(
        [Record(tmp_path / "a.png", "a", "1", "train")] * 3,
        tmp_path,
        KEEP,
        lambda *counts: seen.append(counts),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert "frame" not in done.rows[0]


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (("a", "train"), "duplicate"),
        (("a", "query"), "split_leak"),
        (("b", "train"), "identity_conflict"),
        (("b", "query"), "split_leak"),
    ],
)
def test_equal_bytes(second: tuple[str, str], kind: str, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(png(noise(1)))
    identity, split = second
    records = [
        Record(tmp_path / "1.png", "a", "1", "train"),
        Record(tmp_path / "2.png", identity, "2", split),
    ]
    kept = inspect(records, tmp_path, KEEP)
    assert kind in {problem.kind for problem in kept.problems if problem.what.endswith("2.png")}
    assert "near_duplicate" not in {problem.kind for problem in kept.problems}
    left = inspect(records, tmp_path, KEEP | {kind: "leave_out"})
    assert [row["path"] for row in left.rows] == ["1.png"]
    with pytest.raises(ReidError, match=r"2\.png.*same bytes as .*1\.png"):
        inspect(records, tmp_path, KEEP | {kind: "stop"})


def test_look_alikes_survive_compression_and_size_but_people_do_not_look_alike(tmp_path: Path) -> None:
    pictures = [person(seed) for seed in range(60)]
    files = {f"{seed:02d}.png": png(picture) for seed, picture in enumerate(pictures)}
    files["again.jpg"] = jpeg(pictures[7], 60)
    files["small.png"] = png(cv2.resize(pictures[9], (48, 96), interpolation=cv2.INTER_AREA))
    files["flipped.png"] = png(pictures[11][:, ::-1])
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = inspect(
        [Record(tmp_path / name, "a", str(i % 2), "train") for i, name in enumerate(files)], tmp_path, KEEP
    )
    found = {
        Path(problem.what).name: problem.detail
        for problem in done.problems
        if problem.kind == "near_duplicate"
    }
    assert set(found) == {"again.jpg", "small.png"}
    assert "07.png" in found["again.jpg"]


def test_near_duplicates_equal_all_pairs_compared() -> None:
    generator = np.random.default_rng(0)
    base = generator.integers(0, 255, (40, 16, 8, 3)).astype(np.int16)
    pictures = np.clip(
        base[generator.integers(0, 40, 700)] + generator.integers(-3, 4, (700, 16, 8, 3)), 0, 255
    ).astype(np.uint8)
    hashes = difference_hashes(pictures)
    slow = []
    for later in range(len(pictures)):
        for earlier in range(later):
            alike = np.abs(pictures[later].astype(int) - pictures[earlier]).mean() < 4
            if alike and np.bitwise_count(hashes[later] ^ hashes[earlier]) <= 3:
                slow.append((earlier, later))
                break
    assert len(slow) > 300
    assert near_duplicates(pictures) == slow


def files(folder: Path, rows: list[tuple[str, str, str]]) -> list[Record]:
    """A picture of its own for each (identity, camera, split)."""
    records = []
    for number, (identity, camera, split) in enumerate(rows):
        path = folder / f"{number}.png"
        path.write_bytes(png(person(number)))
        records.append(Record(path, identity, camera, split))
    return records


def test_the_set_as_a_whole(tmp_path: Path) -> None:
    rows = [
        ("a", "1", "train"),
        ("a", "2", "train"),
        ("a", "2", "query"),
        ("b", "1", "train"),
        ("c", "2", "val"),
        ("c", "2", "val"),
    ]
    rows += [("d", "1", "query"), ("d", "2", "gallery"), ("e", "1", "train"), ("e", "2", "val")]
    records = files(tmp_path, rows)
    found = {(problem.kind, problem.what) for problem in inspect(records, tmp_path, KEEP).problems}
    assert found == {
        ("identity_in_train_and_test", "a"),
        ("identity_in_train_and_test", "e"),
        ("single_image", "b"),
        ("single_camera", "c"),
    }
    policies = KEEP | {
        "identity_in_train_and_test": "leave_out",
        "single_image": "leave_out",
        "single_camera": "leave_out",
    }
    left = inspect(records, tmp_path, policies)
    # with its training images gone, a has one image left
    assert [row["identity"] for row in left.rows] == [
        "d",
        "d",
    ]
    assert len(left.rows) + sum(problem.images_out for problem in left.problems) == len(records)


def test_sets_whose_queries_cannot_match(tmp_path: Path) -> None:
    stop = KEEP | {"one_camera": "stop", "no_match": "stop"}
    one = files(
        tmp_path, [("a", "1", "query"), ("a", "1", "gallery"), ("b", "1", "train"), ("b", "1", "train")]
    )
    with pytest.raises(
        ReidError, match="every image is from camera 1, so that figures are within the camera"
    ):
        inspect(one, tmp_path, stop)
    apart = files(
        tmp_path, [("a", "1", "query"), ("a", "1", "gallery"), ("b", "2", "query"), ("b", "2", "gallery")]
    )
    with pytest.raises(ReidError, match="nobody among the 2 queries is in the gallery from another camera"):
        inspect(apart, tmp_path, stop)
    fine = files(tmp_path, [("a", "1", "query"), ("a", "2", "gallery"), ("b", "2", "query")])
    assert {p.kind for p in inspect(fine, tmp_path, stop).problems} == {"single_image"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_counts_in_are_counts_kept_and_listed(tmp_path: Path, data: st.DataObject) -> None:
    for name, (_, make) in BAD.items():
        if not (tmp_path / name).exists():
            make(tmp_path / name)
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png(noise(number)))
    (tmp_path / "tiny_grey.png").write_bytes(png(noise(9, (4, 4))[..., 0]))  # two findings, one image
    names = st.sampled_from([*BAD, "tiny_grey.png", *(f"{number}.png" for number in range(4))])
    record = st.builds(
        lambda name, identity, camera, split: Record(tmp_path / name, identity, camera, split),
        names,
        st.sampled_from("abc"),
        st.sampled_from("12"),
        st.sampled_from(["train", "val", "query", "gallery"]),
    )
    records = data.draw(st.lists(record, min_size=1, max_size=12))
    policies = {
        kind: data.draw(st.sampled_from([c for c in KINDS[kind].choices if c != "stop"])) for kind in KINDS
    }
    done = inspect(records, tmp_path, policies)
    assert (
        done.images_in
        == len(records)
        == len(done.rows) + sum(problem.images_out for problem in done.problems)
    )


def test_each_kind_has_its_policy_in_the_parameters() -> None:
    assert set(PolicyParams.model_fields) == set(KINDS)
    for kind, field in PolicyParams.model_fields.items():
        assert set(get_args(field.annotation)) == set(KINDS[kind].choices)


@pytest.mark.parametrize("split", ["train", "query", "gallery"])
def test_junk_and_distractors_mean_the_same_in_every_reader(split: str, tmp_path: Path) -> None:
    """Case 21: -1 is left out and counted, 0000 is in the gallery and trains nobody."""
    for seed in range(6):
        (tmp_path / f"{seed}.png").write_bytes(png(person(seed)))
    identities = ("-1", "-1", "0000", "0000", "0001", "0001")
    records = [Record(tmp_path / f"{n}.png", who, str(n % 2), split) for n, who in enumerate(identities)]
    done = inspect(records, tmp_path, KEEP)
    kept = {(row["identity"], row["split"]) for row in done.rows}
    assert kept == {("0000", "gallery"), ("0001", split)}
    assert [problem.kind for problem in done.problems if problem.images_out] == ["junk", "junk"]
    assert done.images_in == 6 == len(done.rows) + sum(problem.images_out for problem in done.problems)
    said = next(problem for problem in done.problems if problem.kind == "distractor")
    assert said.detail.startswith("2 images")
    without = inspect(records, tmp_path, KEEP | {"distractor": "leave_out"})
    assert {row["identity"] for row in without.rows} == {"0001"}
    assert (
        without.images_in == 6 == len(without.rows) + sum(problem.images_out for problem in without.problems)
    )


def test_files_that_are_no_records_are_counted_and_can_stop(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(person(0)))
    strays = [
        Stray("unmatched", tmp_path / "x.jpg", "the pattern is y"),
        Stray("by_system", tmp_path / "._a.png", "macOS"),
    ]
    records = [Record(tmp_path / "a.png", "a", "1", "train")]
    done = inspect(records, tmp_path, KEEP, strays=strays)
    assert done.images_in == 3
    assert [(one.kind, one.policy, one.images_out) for one in done.problems[:2]] == [
        ("unmatched", "leave_out", 1),
        ("by_system", "leave_out", 1),
    ]
    with pytest.raises(
        ReidError, match=r"x\.jpg: the pattern is y; .*data\.policies\.unmatched to leave_out"
    ):
        inspect(records, tmp_path, KEEP | {"unmatched": "stop"}, strays=strays)
