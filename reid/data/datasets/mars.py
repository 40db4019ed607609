"""MARS (Zheng et al. 2016): tracklets, 8,298 to train, 1,980 that ask, and 9,330 that answer after the junk
(identity -1) is dropped.
"""

import re
from pathlib import Path

import numpy as np

from reid.data.catalog import Record
from reid.data.datasets.layout import parsed, read_mat, require
from reid.errors import ReidError

__all__ = ["read_mars"]

_NAME = re.compile(r"(?P<folder>.{4})C(?P<camera>\d)T\d{4}F(?P<frame>\d+)")
_FILES = ("train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat")


def read_mars(root: Path, partition: int = 0) -> list[Record]:
    """One record an image, with its tracklet and frame, in the order of the tracklets.

    Raises:
        UsageError: a file of ``info`` is missing.
        ReidError: a tracklet's images are of several people or cameras.
    """
    train_names, test_names, train_tracks, test_tracks, query = require(
        root, "MARS", *(f"info/{name}" for name in _FILES)
    )
    training = read_mat(train_tracks, "track_train_info").astype(int)
    testing = read_mat(test_tracks, "track_test_info").astype(int)
    asks = np.isin(np.arange(len(testing)), read_mat(query, "query_IDX").flatten().astype(int) - 1)
    records = _images(
        root / "bbox_train", train_names.read_text().split(), training, ["train"] * len(training)
    )
    return records + _images(
        root / "bbox_test",
        test_names.read_text().split(),
        testing,
        np.where(asks, "query", "gallery").tolist(),
    )


def _images(folder: Path, names: list[str], tracks: np.ndarray, splits: list[str]) -> list[Record]:
    records = []
    for number, ((first, last, person, camera), split) in enumerate(
        zip(tracks.tolist(), splits, strict=True), 1
    ):
        if person == -1:
            continue
        matches = [parsed(_NAME, Path(name), "0001C1T0001F001.jpg") for name in names[first - 1 : last]]
        if {(match["folder"], match["camera"]) for match in matches} != {(f"{person:04d}", str(camera))}:
            raise ReidError(
                f"{folder}: tracklet {number} is not of person {person:04d} in camera {camera} alone: "
                "get MARS's info folder again"
            )
        for match in matches:
            path = folder / match["folder"] / match.string
            records.append(
                Record(
                    path,
                    match["folder"],
                    match["camera"],
                    split,
                    int(match["frame"]),
                    f"{folder.name}_{number}",
                )
            )
    return records
