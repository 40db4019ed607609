"""Image files as training and serving both see them: one decoder, one rule of resizing. Torch-free."""

import importlib
import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reid.errors import ReidError

__all__ = ["Image", "MissingPackageError", "decode_image", "read_image", "resize"]

Image = npt.NDArray[np.uint8]  # (h, w, 3) RGB
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")


class MissingPackageError(ReidError):
    """The format is read by a package that is not installed; the message goes on after the file's name."""


def read_image(path: Path) -> Image:
    """An image file as (h, w, 3) uint8 RGB.

    Raises:
        ReidError: the file cannot be read or is not an image.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ReidError(f"image {path} is a device or a pipe: name a file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReidError(f"image {path} cannot be read ({error.strerror}): check the path") from error
    if not data:
        raise ReidError(f"image {path} is empty: remove it or restore it")
    try:
        return decode_image(data)
    except ReidError as error:
        raise ReidError(f"image {path} {error}") from error


def decode_image(data: bytes) -> Image:
    """The bytes of an image file, upright by EXIF; of an animation or of several pages the first. 16 bits
    become 8, CMYK becomes RGB.

    Raises:
        ReidError: they are not an image; the message goes on after the file's name.
    """
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _AVIF + _HEIC:  # OpenCV knows no HEIC, and of AVIF not which way is up
        return _by_pillow(data, brand)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ReidError(f"cannot be decoded ({error.err}): remove it or restore it") from error
    if image is None:
        raise ReidError("is not an image: remove it or restore it")
    return np.asarray(image, np.uint8)


def _by_pillow(data: bytes, brand: bytes) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    if brand in _HEIC:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError as error:
            raise MissingPackageError(
                "is HEIC: install the package pillow-heif, or convert it to JPEG"
            ) from error
    try:
        with Pillow.open(io.BytesIO(data)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise ReidError(
            f"cannot be decoded ({' '.join(str(error).split())}): remove it or restore it"
        ) from error


def resize(image: Image, height: int, width: int, out: Image | None = None) -> Image:
    """Resize: area averaging when both sides shrink, linear otherwise. A model sees in service what it saw in
    training.

    Written into ``out`` (height, width, 3) where given, which must be contiguous.
    """
    if image.shape[:2] == (height, width):
        if out is None:
            return image
        out[:] = image
        return out
    shrinks = image.shape[0] > height and image.shape[1] > width
    return cv2.resize(
        image, (width, height), dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
