"""Image files of every kind that phones and disks hold, written by real encoders and read back."""

import base64
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from reid.data.image_check import open_image
from reid.errors import ReidError
from reid.images import read_image

COARSE = np.random.default_rng(0).integers(0, 255, (8, 4, 3), np.uint8)
PICTURE = cv2.resize(COARSE, (64, 128), interpolation=cv2.INTER_CUBIC)
RGB, OTHER = Image.fromarray(PICTURE), Image.fromarray(PICTURE[:, ::-1].copy())
GREY = np.asarray(RGB.convert("L"))
DEEP = PICTURE.astype(np.uint16) * 257


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def by_opencv(suffix: str, image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


ANIMATED = {"save_all": True, "append_images": [OTHER]}
# Name: the bytes, what is to be seen, and how far a pixel may be off on average (losses of the format
# itself).
KINDS: dict[str, tuple[Callable[[], bytes], np.ndarray, float]] = {
    "upper.JPG": (lambda: saved(RGB, "JPEG", quality=95), PICTURE, 2),
    "cmyk.jpg": (lambda: saved(RGB.convert("CMYK"), "JPEG", quality=95), PICTURE, 3),
    "palette.png": (lambda: saved(RGB.quantize(256), "PNG"), PICTURE, 10),
    "alpha.png": (lambda: saved(RGB.convert("RGBA"), "PNG"), PICTURE, 0),
    "grey_alpha.png": (lambda: saved(RGB.convert("LA"), "PNG"), three(GREY), 0),
    "deep_grey.png": (lambda: saved(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"), three(GREY), 0),
    "deep.png": (lambda: by_opencv(".png", DEEP[..., ::-1]), PICTURE, 0),
    "deep.tif": (lambda: by_opencv(".tif", DEEP[..., ::-1]), PICTURE, 0),
    "cmyk.tif": (lambda: saved(RGB.convert("CMYK"), "TIFF"), PICTURE, 0),
    "palette.tif": (lambda: saved(RGB.quantize(256), "TIFF"), PICTURE, 10),
    "pages.TIFF": (lambda: saved(RGB, "TIFF", **ANIMATED), PICTURE, 0),
    "still.webp": (lambda: saved(RGB, "WEBP", lossless=True), PICTURE, 0),
    "animated.webp": (lambda: saved(RGB, "WEBP", lossless=True, **ANIMATED), PICTURE, 0),
    "animated.gif": (lambda: saved(RGB.quantize(256), "GIF", **ANIMATED), PICTURE, 10),
    "animated.png": (lambda: saved(RGB, "PNG", **ANIMATED), PICTURE, 0),
    "still.avif": (lambda: saved(RGB, "AVIF", quality=95), PICTURE, 3),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_format_shows_the_picture(name: str, tmp_path: Path) -> None:
    make, wanted, off = KINDS[name]
    (tmp_path / name).write_bytes(make())
    image = read_image(tmp_path / name)
    assert image.shape == (128, 64, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - wanted).mean() <= off
    opened = open_image(tmp_path / name)
    assert (opened.width, opened.height) == (64, 128)
    assert {kind for kind, _ in opened.findings} <= {"non_rgb"}
    assert opened.sha256


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [3, 6, 5])
def test_pictures_are_upright_in_every_format(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(saved(RGB, kind, exif=exif, quality=95))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    image = read_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0",  # ends before its first directory: Pillow raises struct.error
        b"Exif\0\0garbage",  # no TIFF header: SyntaxError
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01",  # a directory cut off: a warning
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_keeps_the_picture(kind: str, exif: bytes, tmp_path: Path) -> None:
    """Case 15."""
    path = tmp_path / "a.img"
    path.write_bytes(saved(RGB, kind, exif=exif, quality=95))
    opened = open_image(path)
    assert (opened.width, opened.height) == (64, 128)
    assert {found for found, _ in opened.findings} <= {"exif_damaged"}
    assert np.abs(read_image(path).astype(int) - PICTURE).mean() < 4


def test_damaged_exif_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(RGB, "PNG", exif=b"Exif\0\0II*\0"))
    ((kind, detail),) = open_image(tmp_path / "a.png").findings
    assert kind == "exif_damaged"
    assert detail.startswith("EXIF cannot be read (")


HEIC = base64.b85decode(  # 16 x 32, the upper half red; written by pillow-heif 1.8
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0004eZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=IV*mgE07O6l0RRC20"
    "0001pa1~?00000001}u001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002|X>f9I0002oX>en20001WXm(>m0RwOV0"
    "058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDDMA4O18@KU0|1Z!00RI30{|YNAb|yz>aLpR;31&EfB*mtfB*mk0"
    "EA)y0RRR>0l{;@i2wiq6Ju{|a&BX6cmM$a4FCp!0000KX>)L8000000000$0000$0000eV{Bn?0000G000010000W00001|NsBc00002|NsBs0000200"
    "00GaA|mH000000|*ER0000OX>e^}0000000001009Mo0s{qv0000$ZDe6|0000qC;_ih7BD2{{OZ5|oyY(3ROCH+MKUEvpr}nb|NCv~y);Sw-6s9QLz"
    "I<25#j2JpZ!X}"
)


def test_heic_is_read_or_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(HEIC)
    if importlib.util.find_spec("pillow_heif"):
        image = read_image(path)
        assert image.shape == (32, 16, 3)
        assert image[4, 8, 0] > 200 > 50 > image[28, 8, 0]
        return
    with pytest.raises(
        ReidError, match=r"IMG_0001\.HEIC is HEIC: install the package pillow-heif, or convert it to JPEG"
    ):
        read_image(path)
    ((kind, detail),) = open_image(path).findings
    assert (kind, detail) == (
        "needs_package",
        "is HEIC: install the package pillow-heif, or convert it to JPEG",
    )
