"""What is left of a model under worse pictures: corruptions of images, and how far each figure falls. Pillow
is loaded on use.

Kinds and five severities follow Hendrycks 2019 in spirit; sizes are relative to the image, so that crops of
any resolution suffer alike.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError, UsageError
from reid.evaluation.ranking import RankingReport

__all__ = ["CORRUPTIONS", "SEVERITIES", "Fall", "corrupt", "falls"]

Image = npt.NDArray[np.uint8]
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Fall:
    """One figure before and after a shift."""

    clean: float
    shifted: float

    @property
    def fall(self) -> float:
        """How much is lost, in points of the figure; negative where it rose."""
        return self.clean - self.shifted


def corrupt(
    images: npt.ArrayLike, name: str, severity: int, *, seed: int = 0, first: int = 0
) -> npt.NDArray[np.uint8]:
    """Spoil images in one way.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        name: one of ``CORRUPTIONS``.
        severity: 1 (slight) to 5 (hardly a person left).
        seed: of what is drawn; image n is corrupted the same way whatever the batch it comes in.
        first: the number of the batch's first image.

    Returns:
        (N, H, W, 3) uint8, a copy.

    Raises:
        UsageError: the name or the severity is unknown.
        ReidError: the images have another shape or type.
    """
    if name not in CORRUPTIONS:
        raise UsageError(f"corruption {name!r} is unknown: want one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity} is unknown: want 1 to 5")
    pixels = np.asarray(images)
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ReidError(f"images have shape {pixels.shape} and type {pixels.dtype}: want (N, H, W, 3) uint8")
    spoil = CORRUPTIONS[name]
    corrupted = np.empty_like(pixels)
    for place, image in enumerate(pixels):
        corrupted[place] = spoil(image, severity - 1, np.random.default_rng([seed, first + place]))
    return corrupted


def falls(
    clean: RankingReport, shifted: Mapping[str, RankingReport], figures: Sequence[str] = ("mean_ap", "rank1")
) -> dict[str, dict[str, Fall]]:
    """Each figure under each shift beside the clean one.

    Raises:
        ReidError: a report judges other queries than the clean one.
        UsageError: a figure is unknown.
    """
    for name, report in shifted.items():
        if not np.array_equal(report.query_index, clean.query_index):
            raise ReidError(
                f"shift {name} judges {report.valid_queries} queries and the clean run "
                f"{clean.valid_queries}: rank the same ones"
            )
    before = {figure: float(clean.per_query(figure).mean()) for figure in figures}
    return {
        name: {
            figure: Fall(value, float(report.per_query(figure).mean())) for figure, value in before.items()
        }
        for name, report in shifted.items()
    }


def _blur(image: Image, level: int, _rng: np.random.Generator) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageFilter

    radius = (0.006, 0.012, 0.02, 0.03, 0.045)[level] * image.shape[0]
    return np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _dark(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Less light, and the sensor's noise that it brings out."""
    share = (0.6, 0.4, 0.25, 0.15, 0.08)[level]
    values = image * share + rng.normal(0, 2 + 2 * level, image.shape)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _bright(image: Image, level: int, _rng: np.random.Generator) -> Image:
    gain = (1.3, 1.6, 2.0, 2.6, 3.5)[level]
    return np.clip(np.round(image * gain), 0, 255).astype(np.uint8)


def _compression(image: Image, level: int, _rng: np.random.Generator) -> Image:
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "JPEG", quality=(30, 20, 12, 8, 4)[level])
    return np.asarray(Pillow.open(stream).convert("RGB"))


def _occlusion(image: Image, level: int, rng: np.random.Generator) -> Image:
    """A grey box over a share of the image, somewhere."""
    side = np.sqrt((0.1, 0.2, 0.3, 0.4, 0.5)[level])
    height, width = (max(1, round(side * length)) for length in image.shape[:2])
    top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
    covered = image.copy()
    covered[top : top + height, left : left + width] = 128
    return covered


def _low_resolution(image: Image, level: int, _rng: np.random.Generator) -> Image:
    from PIL import Image as Pillow

    share = (0.5, 0.35, 0.25, 0.18, 0.12)[level]
    height, width = image.shape[:2]
    small = Pillow.fromarray(image).resize(
        (max(1, round(width * share)), max(1, round(height * share))), Pillow.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Pillow.Resampling.BILINEAR))


CORRUPTIONS: dict[str, Callable[[Image, int, np.random.Generator], Image]] = {
    "blur": _blur,
    "dark": _dark,
    "bright": _bright,
    "compression": _compression,
    "occlusion": _occlusion,
    "low_resolution": _low_resolution,
}
