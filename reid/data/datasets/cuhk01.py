"""CUHK01 (Li et al. 2012): 971 people, two views of two images each; half of the people train.

No partition was published: ten are drawn, each used twice with the views' roles exchanged (partition 2k and
2k + 1), as in torchreid.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, require, shuffled

__all__ = ["read_cuhk01"]

_NAME = re.compile(r"(?P<identity>\d{4})(?P<image>\d{3})")


def read_cuhk01(root: Path, partition: int = 0) -> list[Record]:
    """Records by name; images 1 and 2 are view 1, images 3 and 4 view 2.

    Raises:
        UsageError: the folder ``campus`` is missing.
        ReidError: a name is not of the set's form.
    """
    (folder,) = require(inside(root, "CUHK01"), "CUHK01", "campus")
    found = [(path, parsed(_NAME, path, "0001001.png")) for path in images_in(folder)]
    people = sorted({match["identity"] for _, match in found})
    training = {people[index] for index in shuffled(len(people), partition // 2)[: len(people) // 2]}
    asking = "1" if partition % 2 == 0 else "2"
    records = []
    for path, match in found:
        camera = "1" if int(match["image"]) <= 2 else "2"
        split = "train" if match["identity"] in training else ("query" if camera == asking else "gallery")
        records.append(Record(path, match["identity"], camera, split))
    return records
