"""The parity gate: an exported file must give the answers of the trained model, image by image and ranking by
ranking. NumPy, no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.embeddings import cosines
from reid.errors import ReidError
from reid.evaluation import rank_gallery

__all__ = [
    "GATED_BY",
    "Accuracy",
    "Limits",
    "ParityReport",
    "People",
    "check_accuracy",
    "check_parity",
    "hold_against",
    "measure_accuracy",
    "measure_parity",
]

_WORST = 5
_WAY_OUT = "leave the precision out, or change its limit"
Embeddings = npt.NDArray[np.floating]

# What a limit is held against. Behind the neck an embedding is what sets a person apart from the mean of all,
# and where that is little, int8 turns it far. So int8 answers for its mean cosine, for a lower limit on its
# lowest one, and for mAP.
GATED_BY = {"fp32": "lowest", "fp16": "lowest", "int8": "mean"}


@dataclass(frozen=True)
class Limits:
    """What every file is held against.

    Attributes:
        cosine: the least one by precision; ``GATED_BY`` says whether of the lowest crop or of the mean.
        int8_lowest: the least cosine of int8's lowest crop.
        map_fall: how far mAP on validation people may fall below the trained model's, in 0..1.
    """

    cosine: Mapping[str, float]
    int8_lowest: float = 0.95
    map_fall: float = 0.005


@dataclass(frozen=True)
class ParityReport:
    """Cosines between two runs of the same images. ``worst`` holds the images of lowest cosine, lowest
    first.
    """

    images: int
    lowest: float
    median: float
    mean: float
    worst: tuple[tuple[str, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class People:
    """Validation people: images uint8 ``(N, height, width, 3)`` with N identities and N cameras."""

    images: npt.NDArray[np.uint8]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]


@dataclass(frozen=True)
class Accuracy:
    """Ranking of every image against all images of other cameras, in 0..1."""

    rank1: float
    mean_ap: float


def measure_parity(reference: Embeddings, candidate: Embeddings, names: Sequence[str]) -> ParityReport:
    """Compare embeddings row by row.

    Args:
        reference: ``(N, D)``, of the trained model.
        candidate: ``(N, D)``, of the file under test.
        names: N names of the images.

    Raises:
        ReidError: the shapes differ, or there is no image.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or len(names) != len(reference):
        raise ReidError(
            f"parity: embeddings are {reference.shape} and {candidate.shape} for {len(names)} names: "
            "want the same (N, D) twice"
        )
    if len(reference) == 0:
        raise ReidError("parity: there is no image to compare on: give held-out crops")
    cosine = cosines(reference, candidate)
    order = np.argsort(cosine, kind="stable")[:_WORST]
    worst = tuple((str(names[i]), float(cosine[i])) for i in order)
    return ParityReport(
        images=len(cosine),
        lowest=float(cosine.min()),
        median=float(np.median(cosine)),
        mean=float(cosine.mean()),
        worst=worst,
    )


def check_parity(report: ParityReport, limit: float, file: str, *, statistic: str = "lowest") -> None:
    """Refuse a file that strays from the trained model.

    Args:
        report: of ``measure_parity``.
        limit: the least cosine.
        file: what is under test, for the message.
        statistic: ``lowest`` or ``mean``, what the limit is held against.

    Raises:
        ReidError: the cosine is below the limit; the message names the file and the worst images.
    """
    value = {"lowest": report.lowest, "mean": report.mean}[statistic]
    if value < limit:
        figures = f"{statistic} cosine {value:.5f}, limit {limit}"
        raise ReidError(
            f"{file} strays from the trained model: {figures}; {_worst(report, limit)}: {_WAY_OUT}"
        )


def hold_against(
    reference: Embeddings,
    candidate: Embeddings,
    names: Sequence[str],
    precision: str,
    limits: Limits,
    file: str,
) -> ParityReport:
    """Measure a file of a precision and hold it against that precision's limits; as ``measure_parity`` and
    ``check_parity``.

    Raises:
        ReidError: a cosine is below its limit.
    """
    parity = measure_parity(reference, candidate, names)
    check_parity(parity, limits.cosine[precision], file, statistic=GATED_BY[precision])
    if precision == "int8":
        check_parity(parity, limits.int8_lowest, file, statistic="lowest")
    return parity


def measure_accuracy(embeddings: Embeddings, people: People) -> Accuracy:
    """Rank every image of ``people`` against the rest; images of the same person and camera are left out.

    Raises:
        ReidError: nobody is seen by two cameras.
    """
    rows = (embeddings, people.identities, people.cameras)
    report = rank_gallery(*rows, *rows)
    return Accuracy(rank1=float(report.cmc[0]), mean_ap=float(report.mean_ap))


def check_accuracy(
    reference: Accuracy, candidate: Accuracy, most: float, file: str, parity: ParityReport
) -> None:
    """Refuse a file that ranks worse than the trained model.

    Args:
        reference: of the trained model.
        candidate: of the file under test.
        most: how far mAP may fall, in 0..1.
        file: what is under test, for the message.
        parity: of the same file, for the message's worst images.

    Raises:
        ReidError: mAP falls further.
    """
    fall = reference.mean_ap - candidate.mean_ap
    if fall > most:
        figures = f"mAP {reference.mean_ap:.4f} falls by {fall:.4f}, limit {most}"
        raise ReidError(
            f"{file} ranks worse than the trained model: {figures}; {_worst(parity, 2.0)}: {_WAY_OUT}"
        )


def _worst(report: ParityReport, below: float) -> str:
    return (
        "worst images: "
        f"{', '.join(f'{name} {cosine:.5f}' for name, cosine in report.worst if cosine < below)}"
    )
