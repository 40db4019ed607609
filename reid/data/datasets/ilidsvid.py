"""iLIDS-VID (Wang et al. 2014): 300 people, a tracklet in each of two cameras; ten published partitions, half
of the people each.
"""

from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, read_mat, require
from reid.errors import ReidError

__all__ = ["read_ilidsvid"]

_PARTITIONS = "train-test people splits/train_test_splits_ilidsvid.mat"


def read_ilidsvid(root: Path, partition: int = 0) -> list[Record]:
    """One record an image, by split, person and camera; camera 1 asks, camera 2 answers.

    Raises:
        UsageError: a folder or the partitions are missing.
        ReidError: the cameras do not show the same people, or there are others than the partitions tell.
    """
    first, second, listing = require(
        root, "iLIDS-VID", "i-LIDS-VID/sequences/cam1", "i-LIDS-VID/sequences/cam2", _PARTITIONS
    )
    people = sorted(path.name for path in first.iterdir() if path.is_dir())
    if people != sorted(path.name for path in second.iterdir() if path.is_dir()):
        raise ReidError(f"{first} and {second} do not show the same people: unpack iLIDS-VID again")
    order = read_mat(listing, "ls_set")[partition].astype(int) - 1
    if sorted(order.tolist()) != list(range(len(people))):
        raise ReidError(
            f"{first} has {len(people)} people, but {listing} splits {len(order)}: unpack iLIDS-VID again"
        )
    half = len(order) // 2  # the first half is tested on (Wang et al. 2014, section 5)
    records = []
    for part, indices in (("train", order[half:]), ("test", order[:half])):
        for person in sorted(people[index] for index in indices):
            for folder, camera, asks in ((first, "1", "query"), (second, "2", "gallery")):
                split = "train" if part == "train" else asks
                paths = images_in(folder / person)
                records += [
                    Record(path, person, camera, split, frame, f"cam{camera}_{person}")
                    for frame, path in enumerate(paths, 1)
                ]
    return records
