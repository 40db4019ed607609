"""Market-1501 (Zheng et al. 2015).

``bounding_box_train`` trains, ``query`` asks, ``bounding_box_test`` is the gallery: 19,732 files of which the
3,819 junk detections (identity -1) are dropped and the distractors (identity 0000) stay, which leaves 15,913.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import inside, read_folders

__all__ = ["read_market1501"]

_NAME = re.compile(r"(?P<identity>-1|\d{4})_c(?P<camera>\d)s\d_(?P<frame>\d+)_\d{2}")
_FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}


def read_market1501(root: Path, partition: int = 0) -> list[Record]:
    """Records of all three folders in the order of their names; junk is left out.

    Raises:
        UsageError: ``root`` lacks one of the three folders.
        ReidError: a file's name is not of the set's form, or a folder is empty.
    """
    records = read_folders(
        inside(root, "Market-1501-v15.09.15"), "Market-1501", _FOLDERS, _NAME, "0002_c1s1_000451_03.jpg"
    )
    return [record for record in records if record.identity != "-1"]
