"""Pictures of people in a folder, for the commands that take ``--root`` and ``--pattern``. Torch-free."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.console import say
from reid.data.datasets.folder import scan_folder

__all__ = ["pictures_below"]


def pictures_below(root: Path, pattern: str) -> tuple[list[Path], npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Paths, identities and cameras (N,) of the images that match; what does not match is said. Raises as
    ``scan_folder``.
    """
    scan = scan_folder(root, pattern)
    if (line := scan.unmatched()) is not None:
        say(line)
    identities, cameras = (
        np.asarray([getattr(record, key) for record in scan.records]) for key in ("identity", "camera")
    )
    return [record.path for record in scan.records], identities, cameras
