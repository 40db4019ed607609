"""DukeMTMC-reID (Ristani et al. 2016, Zheng et al. 2017), withdrawn by its authors in 2019.

Filmed without consent and no longer distributed: readable here for those who must reproduce old figures, not
to start anything new.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import inside, read_folders

__all__ = ["read_dukemtmcreid"]

_NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>\d)_f(?P<frame>\d+)")
_FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}


def read_dukemtmcreid(root: Path, partition: int = 0) -> list[Record]:
    """Records of all three folders in the order of their names.

    Raises:
        UsageError: ``root`` lacks one of the three folders.
        ReidError: a file's name is not of the set's form, or a folder is empty.
    """
    return read_folders(
        inside(root, "DukeMTMC-reID"), "DukeMTMC-reID", _FOLDERS, _NAME, "0001_c2_f0046182.jpg"
    )
