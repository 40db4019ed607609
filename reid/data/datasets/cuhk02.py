"""CUHK02 (Li and Wang 2013): five pairs of cameras; P1 to P4 train, of P5 one camera asks and the other
answers.

People are numbered anew in each pair and do not reappear in another, so an identity is ``P1_001``. Overlaps
with CUHK01.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, require

__all__ = ["read_cuhk02"]

_NAME = re.compile(r"(?P<identity>\d+)_")


def read_cuhk02(root: Path, partition: int = 0) -> list[Record]:
    """Records by pair, camera and name.

    Raises:
        UsageError: a folder is missing.
        ReidError: a name does not begin with a number, or a folder is empty.
    """
    base = inside(root, "Dataset", "cuhk02")
    records = []
    for pair in ("P1", "P2", "P3", "P4", "P5"):
        for camera, test_split in (("cam1", "query"), ("cam2", "gallery")):
            (folder,) = require(base, "CUHK02", f"{pair}/{camera}")
            for path in images_in(folder):
                identity = parsed(_NAME, path, "001_0101.png")["identity"]
                records.append(
                    Record(
                        path,
                        f"{pair}_{identity}",
                        f"{pair}_{camera}",
                        test_split if pair == "P5" else "train",
                    )
                )
    return records
