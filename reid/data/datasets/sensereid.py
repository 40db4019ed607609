"""SenseReID (Zhao et al. 2017): for testing only, 522 people ask and 1,717 answer."""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, require

__all__ = ["read_sensereid"]

_NAME = re.compile(r"(?P<identity>\d+)_(?P<camera>\d+)\.")


def read_sensereid(root: Path, partition: int = 0) -> list[Record]:
    """Records by folder and name; there are none to train on.

    Raises:
        UsageError: a folder is missing.
        ReidError: a name is not of the set's form.
    """
    records = []
    for folder, split in zip(
        require(inside(root, "SenseReID"), "SenseReID", "test_probe", "test_gallery"),
        ("query", "gallery"),
        strict=True,
    ):
        for path in images_in(folder):
            match = parsed(_NAME, path, "00001_0.jpg")
            records.append(Record(path, match["identity"], match["camera"], split))
    return records
