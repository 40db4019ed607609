"""What may enter a gallery: names that can be shown, and the values of a reference."""

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError

__all__ = [
    "MOST_DAYS",
    "UNKNOWN",
    "check_name",
    "digest",
    "reference_rows",
    "seconds",
]

UNKNOWN = "unknown"  # what matching answers for nobody
MAX_NAME = 200
MOST_DAYS = 36_500  # of retention: a hundred years
_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}  # control characters, surrogates, line and paragraph separators
# make a name look like another
_DIRECTIONS = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_name(identity: str) -> str:
    """Return a person's name in Unicode's composed form, so that equal-looking names are equal.

    Raises:
        ReidError: the name is empty, too long, reserved, padded with spaces, or holds invisible characters.
    """
    if not isinstance(identity, str):
        raise ReidError(f"identity {identity!r} is a {type(identity).__name__}: give the name as text")
    shown = repr(identity if len(identity) <= 40 else identity[:40] + "...")
    if not 1 <= len(identity) <= MAX_NAME:
        raise ReidError(f"identity {shown} has {len(identity)} characters: want 1 to {MAX_NAME}")
    if any(unicodedata.category(character) in _HIDDEN or character in _DIRECTIONS for character in identity):
        raise ReidError(f"identity {shown} holds a control character: remove it")
    if identity != identity.strip():
        raise ReidError(f"identity {shown} begins or ends with a space: remove it")
    if identity.casefold() == UNKNOWN:
        raise ReidError(
            f"identity {shown} is what matching calls everybody it does not know: choose another name"
        )
    return unicodedata.normalize("NFC", identity)


def digest(row: bytes) -> bytes:
    """SHA-256 of one stored embedding."""
    return hashlib.sha256(row).digest()


def _per_row(value: object, count: int, name: str) -> list[object]:
    """A value for each of ``count`` rows: one for all, or a sequence with one for each.

    Raises:
        ReidError: the sequence has another length.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * count
    if len(value) != count:
        raise ReidError(f"{name} has {len(value)} values for {count} embeddings: give one, or one a row")
    return list(value)


def reference_rows(
    matrix: npt.NDArray[np.float32], source: object, camera: object, time: object, quality: object, now: float
) -> list[tuple[object, ...]]:
    """Rows for the database: taken_at, enrolled_at, quality, source, camera, sha256, embedding.

    Raises:
        ReidError: there is no embedding, a list has another length, a time is no time, or a quality is not in
            0..1.
    """
    count = len(matrix)
    if not count:
        raise ReidError("there is no embedding to enroll: give at least one image")
    taken = [seconds(moment, "time") for moment in _per_row(now if time is None else time, count, "time")]
    weights = [_share(value) for value in _per_row(quality, count, "quality")]
    sources = [str(value) for value in _per_row(source, count, "source")]
    cameras = [str(value) for value in _per_row(camera, count, "camera")]
    blobs = [row.tobytes() for row in matrix]
    return [
        (taken[i], now, weights[i], sources[i], cameras[i], digest(blobs[i]), blobs[i]) for i in range(count)
    ]


def _share(value: object) -> float:
    if isinstance(value, (int, float, np.number)) and 0 <= value <= 1:
        return float(value)
    raise ReidError(f"quality is {value!r}: want 0 to 1")


def seconds(moment: object, name: str) -> float:
    """A moment as seconds since 1970 in UTC, from a number or a datetime (without a zone: UTC).

    Raises:
        ReidError: it is neither, or not finite.
    """
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(moment, (int, float, np.number)) and np.isfinite(moment):
        return float(moment)
    raise ReidError(f"{name} is {moment!r}: want seconds since 1970 or a datetime")
