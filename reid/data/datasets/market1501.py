"""Market-1501 (Zheng et al. 2015).

``bounding_box_train`` trains, ``query`` asks, ``bounding_box_test`` is the gallery: 19,732 files of which the 3,819 junk
detections (identity -1) are dropped and the distractors (identity 0000) stay, which leaves 15,913.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.errors import ReidError, UsageError

__all__ = ["read_market1501"]

_NAME = re.compile(r"(?P<identity>-1|\d{4})_c(?P<camera>\d)s\d_(?P<frame>\d+)_\d{2}")
_FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}


def read_market1501(root: Path) -> list[Record]:
    """Records of all three folders in the order of their names; junk is left out.

    Raises:
        UsageError: ``root`` lacks one of the three folders.
        ReidError: a file's name is not of the set's form, or a folder is empty.
    """
    records = []
    for folder, split in _FOLDERS.items():
        directory = root / folder
        if not directory.is_dir():
            raise UsageError(f"{root} is not Market-1501: the folder {folder} is missing")
        files = sorted(directory.glob("*.jpg"))
        if not files:
            raise ReidError(f"{directory} holds no .jpg file: unpack the data set again")
        for path in files:
            match = _NAME.match(path.name)
            if match is None:
                raise ReidError(f"{path}: the name is not of Market-1501's form 0002_c1s1_000451_03.jpg: remove or rename the file")
            if match["identity"] != "-1":
                records.append(Record(path, match["identity"], match["camera"], split, frame=int(match["frame"])))
    return records
