"""CUHK03 (Li et al. 2014) under the new protocol (Zhong et al. 2017): 767 people train, 700 are tested on.

Boxes by a detector or by hand. Two layouts are read: the folders of CUHK03-NP
(``detected/bounding_box_train`` and so on), and images extracted from ``cuhk-03.mat``
(``images_detected/1_001_1_01.png``) with the protocol's ``cuhk03_new_protocol_config_*.mat``.
"""

import re
from functools import partial
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, read_mat, require
from reid.errors import ReidError

__all__ = ["read_cuhk03_detected", "read_cuhk03_labelled"]

_NP_NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>\d)_")
_NAME = re.compile(r"\d_\d{3}_(?P<camera>\d)_\d{2}")
_FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}


def _read(boxes: str, root: Path, partition: int = 0) -> list[Record]:
    """Records of one kind of boxes.

    Raises:
        UsageError: ``root`` has neither layout.
        ReidError: a name is not of the set's form, or the protocol names an image that is not there.
    """
    base = inside(root, "CUHK03-NP", "cuhk03-np")
    return _read_folders(base / boxes) if (base / boxes).is_dir() else _read_protocol(root, boxes)


def _read_folders(base: Path) -> list[Record]:
    records = []
    for folder, split in zip(require(base, "CUHK03-NP", *_FOLDERS), _FOLDERS.values(), strict=True):
        for path in images_in(folder):
            match = parsed(_NP_NAME, path, "0003_c1_21.png")
            records.append(Record(path, match["identity"], match["camera"], split))
    return records


def _read_protocol(root: Path, boxes: str) -> list[Record]:
    config = f"cuhk03_new_protocol_config_{boxes}.mat"
    images, protocol = require(root, "CUHK03", f"images_{boxes}", config)
    names = [str(cell[0]) for cell in read_mat(protocol, "filelist").flatten()]
    people = read_mat(protocol, "labels").flatten()
    records = []
    for split in ("train", "query", "gallery"):
        for index in read_mat(protocol, f"{split}_idx").flatten().astype(int) - 1:
            path = images / names[index]
            if not path.exists():
                raise ReidError(
                    f"{protocol} names {path}, which does not exist: extract the images of cuhk-03.mat again"
                )
            match = parsed(_NAME, path, "1_001_1_01.png")
            records.append(Record(path, f"{int(people[index]):04d}", match["camera"], split))
    return records


read_cuhk03_detected = partial(_read, "detected")
read_cuhk03_labelled = partial(_read, "labeled")
