"""MSMT17 (Wei et al. 2018), version 1 and version 2 (faces masked).

The lists rule: 32,621 training, 11,659 query and 82,161 gallery images. ``list_val.txt`` holds further images
of the training people; as in published figures they are not trained on, and validation here holds out people
instead.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import inside, parsed, require
from reid.errors import ReidError, UsageError

__all__ = ["read_msmt17"]

_NAME = re.compile(r"\d{4}_\d{3}_(?P<camera>\d{2})_")
_VERSIONS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))


def read_msmt17(root: Path, partition: int = 0) -> list[Record]:
    """Records in the order of the lists.

    People of training and test are numbered from 0 each; their identities carry the part, ``train_0000`` and
    ``test_0000``.

    Raises:
        UsageError: ``root`` holds neither version, or a list is missing.
        ReidError: a line of a list is not ``path number``.
    """
    base = inside(root, "MSMT17_V1", "MSMT17_V2")
    folders = next((pair for pair in _VERSIONS if (base / pair[0]).is_dir()), None)
    if folders is None:
        raise UsageError(
            f"{root} is not MSMT17: neither {_VERSIONS[0][0]} nor {_VERSIONS[1][0]} is there; set "
            "data.root to MSMT17_V1 or V2"
        )
    records = []
    for split, folder in (("train", folders[0]), ("query", folders[1]), ("gallery", folders[1])):
        part = "train" if split == "train" else "test"
        (listing, images) = require(base, "MSMT17", f"list_{split}.txt", folder)
        for number, line in enumerate(listing.read_text(encoding="ascii").splitlines(), 1):
            name, _, person = line.strip().rpartition(" ")
            if not name or not person.isdigit():
                raise ReidError(f"{listing} line {number} is {line!r}: want a path and the person's number")
            path = images / name
            match = parsed(_NAME, path, "0000_000_01_0303morning_0015_0.jpg")
            records.append(Record(path, f"{part}_{int(person):04d}", match["camera"], split))
    return records
