"""One image file opened once: what it is, whether it can be used, and what it looks like in a few bytes."""

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from reid.errors import ReidError
from reid.images import MissingPackageError, decode_image

__all__ = ["THUMBNAIL", "Opened", "open_image"]

_TINY = 8  # pixels; below this there is no person to see
THUMBNAIL = (16, 8, 3)  # height, width, RGB
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_UPRIGHT = (None, 0, 1)


@dataclass(frozen=True, slots=True)
class Opened:
    """What an image file holds.

    Attributes:
        width, height: pixels, upright.
        sha256: of the file's bytes; empty when it cannot be read.
        findings: (kind, detail) pairs, kinds of `reid.data.findings.KINDS`; the first ends the check where
            the image cannot be used.
        thumbnail: `THUMBNAIL` uint8, for finding pictures that look alike.
    """

    width: int
    height: int
    sha256: str
    findings: tuple[tuple[str, str], ...]
    thumbnail: npt.NDArray[np.uint8] | None


def _start_of(data: bytes) -> str:
    """The first bytes of a file as text where they are some, else as numbers."""
    start = data[:8]
    return repr(start.decode("ascii")) if start.isascii() and start.decode().isprintable() else start.hex(" ")


def open_image(path: Path) -> Opened:
    """Read and decode a file; nothing is raised for what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return _useless("unreadable", str(error.strerror))
    if not data:
        return _useless("empty", "0 bytes")
    try:
        # The decoder of training and service: upright by EXIF, 8-bit RGB.
        image = decode_image(data)
    except MissingPackageError as error:
        return _useless("needs_package", str(error))
    except ReidError:
        return _useless(*_why_not(data))
    try:
        with Image.open(io.BytesIO(data)) as header:  # decodes nothing yet
            mode, kind = header.mode, header.format or "image"
            orientation, damage = _orientation(header)
            if not _ends_well(data, kind):
                header.load()
    except UnidentifiedImageError:  # OpenCV knows it and Pillow does not
        mode = "RGB"
        kind = "image"
        orientation = 1
        damage = ""
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        return _useless("truncated", f"{' '.join(str(error).split())}")
    notes = [("exif_damaged", damage)] if damage else []
    height, width = image.shape[:2]
    if min(height, width) < _TINY:
        notes.append(("tiny", f"{width}x{height} pixels"))
    if mode != "RGB":
        notes.append(("non_rgb", f"{kind} of mode {mode}"))
    if orientation not in _UPRIGHT:
        notes.append(("exif_rotated", f"{width}x{height} pixels once upright"))
    small = cv2.resize(image, (THUMBNAIL[1], THUMBNAIL[0]), interpolation=cv2.INTER_AREA)
    thumbnail = np.ascontiguousarray(small, np.uint8)
    return Opened(width, height, hashlib.sha256(data).hexdigest(), tuple(notes), thumbnail)


def _orientation(header: Image.Image) -> tuple[object, str]:
    """What EXIF says of which way is up, and what is wrong with the EXIF: the picture does not suffer from
    that.
    """
    try:
        return header.getexif().get(_ORIENTATION), ""
    # Pillow reads EXIF without checks of its own: a damaged one ends in whatever its unpacking raises.
    except (struct.error, SyntaxError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return 1, f"EXIF cannot be read ({' '.join(str(error).split())})"


def _why_not(data: bytes) -> tuple[str, str]:
    """Kind and detail of a file that cannot be decoded: cut off where its header is that of an image, else no
    image.
    """
    try:
        with Image.open(io.BytesIO(data)) as header:
            kind = header.format or "image"
    except UnidentifiedImageError:
        return "not_an_image", f"begins with {_start_of(data)}"
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        return "truncated", f"{' '.join(str(error).split())}"
    return "truncated" if not _ends_well(data, kind) else "not_an_image", f"{kind} that cannot be decoded"


def _useless(kind: str, detail: str) -> Opened:
    return Opened(0, 0, "", ((kind, detail),), None)


def _ends_well(data: bytes, kind: str) -> bool:
    """Whether the file has its format's last bytes; decoding it a second time tells for sure, and is spared
    where it has.
    """
    if kind in ("JPEG", "MPO"):
        return b"\xff\xd9" in data[-32:]
    if kind == "PNG":
        return b"IEND" in data[-32:]
    if kind == "WEBP":
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return False
