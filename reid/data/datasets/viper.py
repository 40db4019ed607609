"""VIPeR (Gray et al. 2007): 632 people, one image in each of two cameras; half of the people train.

No partition was published: ten are drawn, each used twice with the cameras' roles exchanged (partition 2k and
2k + 1), as in torchreid.
"""

import re
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.layout import images_in, inside, parsed, require, shuffled
from reid.errors import ReidError

__all__ = ["read_viper"]

_NAME = re.compile(r"(?P<identity>\d+)_(?P<angle>\d+)")


def read_viper(root: Path, partition: int = 0) -> list[Record]:
    """Records by camera and name.

    Raises:
        UsageError: ``cam_a`` or ``cam_b`` is missing.
        ReidError: the two cameras do not show the same people.
    """
    found = []
    for camera, folder in zip("ab", require(inside(root, "VIPeR"), "VIPeR", "cam_a", "cam_b"), strict=True):
        found += [(path, parsed(_NAME, path, "000_45.bmp")["identity"], camera) for path in images_in(folder)]
    seen = {camera: {identity for _, identity, other in found if other == camera} for camera in "ab"}
    alone = sorted(seen["a"] ^ seen["b"])
    if alone:
        raise ReidError(f"{root}: person {alone[0]} is in one camera only: unpack VIPeR again")
    people = sorted(seen["a"])
    training = {people[index] for index in shuffled(len(people), partition // 2)[: len(people) // 2]}
    asking = "ab"[partition % 2]
    return [
        Record(
            path,
            identity,
            camera,
            "train" if identity in training else ("query" if camera == asking else "gallery"),
        )
        for path, identity, camera in found
    ]
