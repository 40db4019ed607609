"""QMUL i-LIDS (Zheng et al. 2009): 476 images of 119 people in an airport.

The set does not tell cameras; as in torchreid each image of a person counts as a camera of its own. Half of
the people train; of each other person one random image asks and one answers. Ten partitions are drawn, as
torchreid does after ``random.seed(0)``.
"""

import re
from collections import defaultdict
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, require, seeded

__all__ = ["read_ilids"]

_NAME = re.compile(r"(?P<identity>\d{4})(?P<image>\d{3})")


def read_ilids(root: Path, partition: int = 0) -> list[Record]:
    """Records by split; the images of a test person beyond the two are left out, as the protocol has it.

    Raises:
        UsageError: the folder ``Persons`` is missing.
        ReidError: a name is not of the set's form.
    """
    (folder,) = require(inside(root, "i-LIDS_Pedestrian"), "i-LIDS", "Persons")
    images: dict[str, list[Path]] = defaultdict(list)
    for path in images_in(folder):
        images[parsed(_NAME, path, "0001001.jpg")["identity"]].append(path)
    generator = seeded()
    for _ in range(partition + 1):
        people = list(images)
        generator.shuffle(people)
        half = len(people) // 2
        chosen = {
            "train": [path for person in people[:half] for path in images[person]],
            "query": [],
            "gallery": [],
        }
        for person in people[half:]:
            asks, answers = generator.sample(images[person], 2)
            chosen["query"].append(asks)
            chosen["gallery"].append(answers)
    return [
        Record(path, path.name[:4], path.name[4:7], split)
        for split, paths in chosen.items()
        for path in paths
    ]
