"""Each public data set against its protocol, and against torchreid's own reader on the same miniature."""

import contextlib
import glob
import io
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

from reid.config import DataParams
from reid.data.catalog import Record
from reid.data.datasets import DATASETS, read_dataset
from reid.errors import ReidError, UsageError
from tests.reid.data.datasets import miniatures as mini

# data set, its miniature, images and people of (train, query, gallery), cameras
PROTOCOLS = [
    ("market1501", mini.market1501, (3, 2, 3), (2, 1, 2), "123"),
    ("dukemtmcreid", mini.dukemtmcreid, (3, 2, 3), (2, 1, 2), "12568"),
    ("msmt17", mini.msmt17_v1, (2, 1, 2), (2, 1, 2), ("01", "03", "11", "12", "14")),
    ("msmt17", mini.msmt17_v2, (2, 1, 2), (2, 1, 2), ("01", "03", "11", "12", "14")),
    ("cuhk03_detected", mini.cuhk03, (8, 2, 2), (2, 1, 1), "12"),
    ("cuhk03_labelled", mini.cuhk03, (7, 2, 2), (2, 1, 1), "12"),
    ("cuhk03_detected", mini.cuhk03_np, (2, 1, 1), (1, 1, 1), "12"),
    ("cuhk03_labelled", mini.cuhk03_np, (2, 1, 1), (1, 1, 1), "12"),
    (
        "cuhk02",
        mini.cuhk02,
        (32, 4, 4),
        (8, 2, 2),
        tuple(f"P{p}_cam{c}" for p in range(1, 6) for c in (1, 2)),
    ),
    ("cuhk01", mini.cuhk01, (12, 8, 8), (3, 4, 4), "12"),
    ("viper", mini.viper, (8, 5, 5), (4, 5, 5), "ab"),
    ("prid", mini.prid, (200, 100, 649), (100, 100, 649), "ab"),
    ("prid2011", mini.prid2011, (8, 4, 4), (2, 2, 2), "ab"),
    ("grid", mini.grid, (250, 125, 130), (125, 125, 126), "12345678"),
    ("ilids", mini.ilids, (236, 60, 60), (59, 60, 60), ("001", "002", "003", "004")),
    ("sensereid", mini.sensereid, (0, 2, 3), (0, 2, 3), "01"),
    ("occluded_reid", mini.occluded_reid, (0, 4, 4), (0, 2, 2), "12"),
    ("mars", mini.mars, (4, 3, 2), (2, 1, 2), "1236"),
    ("ilidsvid", mini.ilidsvid, None, (150, 150, 150), "12"),
]


def test_every_reader_is_tested_and_can_be_asked_for() -> None:
    assert {name for name, *_ in PROTOCOLS} == set(DATASETS)
    assert set(get_args(DataParams.model_fields["source"].annotation)) == set(DATASETS) | {
        "synthetic",
        "wardrobe",
        "folder",
        "table",
        "footage",
    }


@pytest.mark.parametrize(
    ("name", "build", "images", "people", "cameras"),
    PROTOCOLS,
    ids=lambda value: getattr(value, "__name__", None),
)
def test_protocol(
    name: str, build: Callable[[Path], Path], images: Any, people: Any, cameras: Any, tmp_path: Path
) -> None:
    records = read_dataset(name, build(tmp_path))
    splits = ("train", "query", "gallery")
    if images is not None:
        assert tuple(Counter(record.split for record in records)[split] for split in splits) == images
    by_split = {split: {record.identity for record in records if record.split == split} for split in splits}
    assert tuple(len(by_split[split]) for split in splits) == people
    assert {record.camera for record in records} == set(cameras)
    assert not by_split["train"] & (by_split["query"] | by_split["gallery"])
    assert len({record.path for record in records}) == len(records)
    assert all(record.path.is_file() for record in records)
    assert "-1" not in {record.identity for record in records}
    with pytest.raises(UsageError, match=r"data\.partition"):
        read_dataset(name, tmp_path, DATASETS[name].partitions)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is not"):
        read_dataset(name, tmp_path / "empty")


def test_market_keeps_distractors_and_frames(tmp_path: Path) -> None:
    records = read_dataset("market1501", mini.market1501(tmp_path))
    assert sorted(record.identity for record in records if record.split == "gallery") == [
        "0000",
        "0001",
        "0001",
    ]
    first = next(record for record in records if record.path.name == "0002_c3s1_000551_01.jpg")
    assert (first.identity, first.camera, first.frame) == ("0002", "3", 551)


def test_tracklets_are_told(tmp_path: Path) -> None:
    records = read_dataset("mars", mini.mars(tmp_path))
    assert [(r.tracklet, r.frame) for r in records[:3]] == [
        ("bbox_train_1", 1),
        ("bbox_train_1", 2),
        ("bbox_train_2", 1),
    ]
    assert {r.tracklet for r in read_dataset("prid2011", mini.prid2011(tmp_path))} >= {
        "a_person_0001",
        "b_person_0001",
    }


@pytest.mark.parametrize(
    ("name", "build", "strange"),
    [
        ("market1501", mini.market1501, "Market-1501-v15.09.15/query/holiday.jpg"),
        ("viper", mini.viper, "VIPeR/cam_a/900_0.bmp"),
        ("cuhk01", mini.cuhk01, "campus/holiday.png"),
        ("sensereid", mini.sensereid, "SenseReID/test_probe/holiday.jpg"),
    ],
)
def test_a_strange_file_is_named(
    name: str, build: Callable[[Path], Path], strange: str, tmp_path: Path
) -> None:
    root = build(tmp_path)
    mini.touch(root, strange)
    with pytest.raises(ReidError, match=r"holiday|900") as caught:
        read_dataset(name, root)
    assert "\n" not in str(caught.value)


def test_errors_of_listed_sets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown"):
        read_dataset("market", tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read_dataset("mars", tmp_path / "nowhere")
    root = mini.cuhk03(tmp_path)
    (root / "images_detected/1_001_1_01.png").unlink()
    with pytest.raises(ReidError, match=r"1_001_1_01\.png, which does not exist"):
        read_dataset("cuhk03_detected", root)
    (root / "cuhk03_new_protocol_config_labeled.mat").write_bytes(
        b"not a mat file, but long enough to look at" * 9
    )
    with pytest.raises(ReidError, match="not a MATLAB file"):
        read_dataset("cuhk03_labelled", root)
    root = mini.msmt17_v1(tmp_path)
    (root / "MSMT17_V1/list_query.txt").write_text("0000/0000_001_03_0302afternoon_0744_0.jpg\n")
    with pytest.raises(ReidError, match="line 1"):
        read_dataset("msmt17", root)


@contextlib.contextmanager
def _peer() -> Iterator[ModuleType]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from torchreid.reid.data import datasets

        yield datasets


# data set, torchreid's class, what it is given besides the root
PEERS = [
    ("market1501", "Market1501", mini.market1501, {}),
    ("dukemtmcreid", "DukeMTMCreID", mini.dukemtmcreid, {}),
    ("msmt17", "MSMT17", mini.msmt17_v1, {}),
    ("msmt17", "MSMT17", mini.msmt17_v2, {}),
    ("cuhk03_detected", "CUHK03", mini.cuhk03, {}),
    ("cuhk03_labelled", "CUHK03", mini.cuhk03, {"cuhk03_labeled": True}),
    ("cuhk02", "CUHK02", mini.cuhk02, {}),
    *[("cuhk01", "CUHK01", mini.cuhk01, {"split_id": split}) for split in (0, 1, 7)],
    *[("viper", "VIPeR", mini.viper, {"split_id": split}) for split in (0, 1, 18)],
    *[("prid", "PRID", mini.prid, {"split_id": split}) for split in (0, 3)],
    *[("prid2011", "PRID2011", mini.prid2011, {"split_id": split}) for split in (0, 1)],
    *[("grid", "GRID", mini.grid, {"split_id": split}) for split in (0, 9)],
    *[("ilids", "iLIDS", mini.ilids, {"split_id": split}) for split in (0, 4)],
    ("sensereid", "SenseReID", mini.sensereid, {}),
    ("mars", "Mars", mini.mars, {}),
    *[("ilidsvid", "iLIDSVID", mini.ilidsvid, {"split_id": split}) for split in (0, 9)],
]


@pytest.mark.parametrize(
    ("name", "peer", "build", "options"),
    PEERS,
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_torchreid_reads_the_same(
    name: str,
    peer: str,
    build: Callable[[Path], Path],
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = build(tmp_path)
    # torchreid takes files in the order of the disk; its draws then depend on that order.
    unsorted = glob.glob
    monkeypatch.setattr(glob, "glob", lambda pattern: sorted(unsorted(pattern)))
    if peer == "CUHK03":
        _without_the_container(monkeypatch)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    with _peer() as datasets:
        theirs = getattr(datasets, peer)(
            str(tmp_path), verbose=False, transform=lambda image: image, **options
        )
    ours = read_dataset(name, root, options.get("split_id", 0))
    if name == "sensereid":  # torchreid's training list is a copy of the test images
        theirs.train = []
    _assert_same(ours, theirs)


def _without_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchreid extracts images from cuhk-03.mat before it splits; here they are extracted already, so the
    container looks empty.
    """
    empty = {"detected": [[]], "labeled": [[]], "testsets": [[]]}
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=lambda path, mode: empty))
    monkeypatch.setitem(sys.modules, "imageio", SimpleNamespace())


def _assert_same(ours: list[Record], theirs: Any) -> None:
    """The same files in the same splits, people and cameras equal up to their names, and the same
    tracklets.
    """
    mine: dict[str, dict[str, tuple[str, str]]] = {"train": {}, "query": {}, "gallery": {}}
    for record in ours:
        mine[record.split][str(record.path)] = (record.identity, record.camera)
    assert len(ours) > 0
    seen: dict[str, dict[str, tuple[int, int]]] = {}
    tracklets = set()
    for split, files in mine.items():
        seen[split] = {}
        for item in getattr(theirs, split):
            paths = (item[0],) if isinstance(item[0], str) else item[0]
            tracklets.add(frozenset(map(str, map(Path, paths))))
            for path in paths:
                seen[split][str(Path(path))] = (int(item[1]), int(item[2]))
        assert seen[split].keys() == files.keys()
    for scope, place in ((("train",), 0), (("query", "gallery"), 0), (("train", "query", "gallery"), 1)):
        pairs = {
            (mine[split][path][place], seen[split][path][place]) for split in scope for path in mine[split]
        }
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    if ours[0].tracklet is not None:
        groups: dict[str | None, set[str]] = {}
        for record in ours:
            groups.setdefault(record.tracklet, set()).add(str(record.path))
        assert {frozenset(paths) for paths in groups.values()} == tracklets
