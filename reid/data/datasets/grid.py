"""QMUL GRID (Loy et al. 2009): 250 people in two of eight cameras each, and 775 strangers (identity 0000) in
the gallery.

Ten partitions of 125 training people come with the set, in ``features_and_partitions.mat``.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, read_mat, require
from reid.errors import ReidError

__all__ = ["read_grid"]

_NAME = re.compile(r"(?P<identity>\d{4})_(?P<camera>\d)_")


def read_grid(root: Path, partition: int = 0) -> list[Record]:
    """Records of ``probe`` and ``gallery`` by name.

    Raises:
        UsageError: a folder or the partitions are missing.
        ReidError: a name is not of the set's form, or the partitions cannot be read.
    """
    probe, gallery, partitions = require(
        inside(root, "underground_reid"), "GRID", "probe", "gallery", "features_and_partitions.mat"
    )
    try:
        training = {int(person) for person in read_mat(partitions, "trainIdxAll")[0][partition][0][0][2][0]}
    except IndexError as error:
        raise ReidError(f"{partitions} has no partition {partition}: lower data.partition") from error
    records = []
    for folder, split in ((probe, "query"), (gallery, "gallery")):
        for path in images_in(folder):
            match = parsed(_NAME, path, "0001_1_25004_107_32_106_221.jpeg")
            trains = int(match["identity"]) in training
            records.append(Record(path, match["identity"], match["camera"], "train" if trains else split))
    return records
