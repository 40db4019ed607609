"""Occluded-REID (Zhuo et al. 2018): for testing only, 200 people, five images half hidden (they ask) and five
whole (they answer).

A moving camera filmed both; as in published figures hidden and whole images count as two cameras.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, require

__all__ = ["read_occluded_reid"]

_NAME = re.compile(r"(?P<identity>\d{3})_\d{2}")
_FOLDERS = {"occluded_body_images": ("1", "query"), "whole_body_images": ("2", "gallery")}


def read_occluded_reid(root: Path, partition: int = 0) -> list[Record]:
    """Records by folder and name; there are none to train on.

    Raises:
        UsageError: a folder is missing.
        ReidError: a name is not of the set's form.
    """
    records = []
    folders = require(inside(root, "Occluded_REID", "OccludedREID"), "Occluded-REID", *_FOLDERS)
    for folder, (camera, split) in zip(folders, _FOLDERS.values(), strict=True):
        files = images_in(folder, recursive=True)
        records += [
            Record(path, parsed(_NAME, path, "001_01.tif")["identity"], camera, split) for path in files
        ]
    return records
