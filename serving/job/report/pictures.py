"""The pictures of people inside the page."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from serving.job.report.sighting import Sighting

__all__ = ["LARGE", "SMALL", "Picture", "crop_url", "picture", "picture_url"]

LARGE = (132, 264)  # width, height in pixels: sharp at the size the page shows on a dense screen
SMALL = (96, 192)  # of the pictures in a person's block
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 80]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and what it shows."""

    source: str  # the JPEG file as a data URL
    words: str


def picture(sighting: Sighting, root: Path, most: tuple[int, int] = LARGE) -> Picture | None:
    """The crop of a sighting, no larger than ``most``; None where it is lost.

    ``root`` is the job's folder, resolved: to resolve it for each picture takes as long as all the rest.
    """
    row = sighting.row
    source = crop_url(root, row["crop"], most)
    if source is None:
        return None
    words = f"{sighting.person} as camera {row['camera']} saw them in frame {row['best_frame']}"
    return Picture(source, words)


def crop_url(root: Path, crop: str, most: tuple[int, int]) -> str | None:
    """A crop as a data URL, no larger than ``most``; None where it is lost. ``root``: see :func:`picture`."""
    path = (root / crop).resolve()
    if not path.is_relative_to(root) or not path.is_file():  # the job folder may be somebody else's
        return None
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else picture_url(np.asarray(image, np.uint8), most)


def picture_url(image: npt.NDArray[np.uint8], most: tuple[int, int]) -> str:
    """An image (h, w, 3) uint8 BGR as the data URL of a JPEG file, no larger than ``most``."""
    scale = min(1.0, most[0] / image.shape[1], most[1] / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    code = cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), _JPEG)[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(code).decode()}"
