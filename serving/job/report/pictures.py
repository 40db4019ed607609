"""The pictures of people inside the page."""

import base64
from html import escape
from pathlib import Path

import cv2
import numpy as np

from serving.job.report.axis import Row, person

__all__ = ["LARGE", "SMALL", "picture"]

LARGE = (132, 264)  # width, height in pixels: sharp at the size the page shows on a dense screen
SMALL = (96, 192)  # of the pictures in a person's block
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 80]
_BLANK = '<div class="blank"></div>'


def picture(row: Row, folder: Path, most: tuple[int, int] = LARGE) -> str:
    """The crop of a sighting, no larger than ``most``; a blank where it is lost."""
    path = folder / row["crop"]
    if not path.resolve().is_relative_to(folder.resolve()):  # of a job folder from outside
        return _BLANK
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        return _BLANK
    scale = min(1.0, most[0] / image.shape[1], most[1] / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    code = cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), _JPEG)[1].tobytes()
    text = escape(f"{person(row)} as camera {row['camera']} saw them in frame {row['best_frame']}")
    return (
        f'<img alt="{text}" decoding="async" src="data:image/jpeg;base64,{base64.b64encode(code).decode()}">'
    )
