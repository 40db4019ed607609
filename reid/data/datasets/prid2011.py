"""PRID 2011 (Hirzer et al. 2011): two cameras, 200 people in both; single images or whole tracklets."""

from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, require, seeded
from reid.errors import ReidError
from reid.files import read_json

__all__ = ["read_prid", "read_prid2011"]


def read_prid(root: Path, partition: int = 0) -> list[Record]:
    """The single-shot version: of the 200 people seen twice 100 train; camera A asks, camera B answers with
    549 further people.

    No partition was published: ten are drawn, as torchreid does after ``random.seed(0)``.

    Raises:
        UsageError: a camera's folder is missing.
        ReidError: somebody's image is missing.
    """
    base = inside(root, "prid_2011")
    camera_a, camera_b = require(base, "PRID 2011", "single_shot/cam_a", "single_shot/cam_b")
    generator = seeded()
    for _ in range(partition + 1):
        training = set(generator.sample(range(1, 201), 100))
    records = []
    for person in range(1, 750):
        for folder, camera, asks in ((camera_a, "a", "query"), (camera_b, "b", "gallery")):
            path = folder / f"person_{person:04d}.png"
            if person > 200 and camera == "a":
                continue  # another person than camera B's of the same number
            if not path.exists():
                raise ReidError(f"{path} is missing: unpack PRID 2011 again")
            records.append(Record(path, f"{person:04d}", camera, "train" if person in training else asks))
    return records


def read_prid2011(root: Path, partition: int = 0) -> list[Record]:
    """The multi-shot version under the partitions of Wang et al. (2014): 178 people with long tracklets, half
    of them train.

    Raises:
        UsageError: a camera's folder or ``splits_prid2011.json`` is missing.
        ReidError: the file lacks the partition, or a tracklet is empty.
    """
    (listing,) = require(root, "PRID 2011", "splits_prid2011.json")
    folders = require(inside(root, "prid_2011"), "PRID 2011", "multi_shot/cam_a", "multi_shot/cam_b")
    partitions = read_json(listing, "partitions")
    if not isinstance(partitions, list) or partition >= len(partitions):
        raise ReidError(f"{listing} has no partition {partition}: lower data.partition")
    records = []
    for part in ("train", "test"):
        for person in partitions[partition][part]:
            for folder, camera, asks in zip(folders, "ab", ("query", "gallery"), strict=True):
                split = "train" if part == "train" else asks
                paths = images_in(folder / person)
                records += [
                    Record(path, person, camera, split, frame, f"{camera}_{person}")
                    for frame, path in enumerate(paths, 1)
                ]
    return records
