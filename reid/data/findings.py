"""What can be wrong with images and sets of them, what is done about each, and how it is listed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["KINDS", "Kind", "Policy", "Problem"]

Policy = Literal["stop", "leave_out", "keep"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: its title, and what it means for whoever reads the report."""

    title: str
    meaning: str
    choices: tuple[Policy, ...] = ("stop", "leave_out", "keep")


_BROKEN: tuple[Policy, ...] = ("stop", "leave_out")
_WHOLE: tuple[Policy, ...] = ("stop", "keep")

KINDS: Mapping[str, Kind] = {
    "unmatched": Kind("Name without a match", "data.pattern is not found in the image's path", _BROKEN),
    "by_system": Kind(
        "File of a system or a download",
        "a system's companion of a file, or a download that has not ended",
        _BROKEN,
    ),
    "junk": Kind("Junk", "identity -1: a box that nobody should be judged by", _BROKEN),
    "distractor": Kind(
        "Distractors", "identity 0000: somebody unknown, who is in the gallery and trains nobody"
    ),
    "unreadable": Kind("Unreadable file", "it is missing, or may not be read", _BROKEN),
    "empty": Kind("Zero-byte file", "a copy or a download was cut off", _BROKEN),
    "not_an_image": Kind("Not an image", "no decoder knows it", _BROKEN),
    "needs_package": Kind(
        "Needs a package", "the format is read by a package that is not installed", _BROKEN
    ),
    "truncated": Kind(
        "Truncated image", "the end of the file is missing; its lower part would be grey", _BROKEN
    ),
    "tiny": Kind("Tiny image", "there is no person to see"),
    "non_rgb": Kind("Not RGB", "grey, transparent, paletted, CMYK or of more than 8 bits; read as 8-bit RGB"),
    "exif_rotated": Kind("Rotated by EXIF", "stored lying down; turned upright wherever it is read"),
    "exif_damaged": Kind("Damaged EXIF", "the picture is whole and is read as it is stored"),
    "duplicate": Kind("Duplicate", "the same bytes as another image of the same person and split"),
    "near_duplicate": Kind("Near duplicate", "looks the same as another image, but for compression or size"),
    "split_leak": Kind(
        "Same picture in two splits", "the figures would count what was trained on, or find a query by itself"
    ),
    "identity_conflict": Kind("Same picture under two identities", "one of the two labels is wrong"),
    "identity_in_train_and_test": Kind(
        "Identity in training and test", "the figures would be of people trained on"
    ),
    "single_image": Kind("Identity with one image", "it can be nobody's positive"),
    "single_camera": Kind("Identity with one camera", "no match across cameras exists"),
    "one_camera": Kind(
        "One camera", "figures are within the camera: earlier images of a person against later ones", _WHOLE
    ),
    "no_match": Kind(
        "Nobody in two cameras",
        "no query's person is in the gallery from another camera: figures are within the cameras",
        _WHOLE,
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        kind: a key of `KINDS`.
        policy: what was done about it.
        what: the image's path, the identity, or ``the whole set``.
        detail: the rest of the sentence.
        images_out: how many images it took out of the catalog.
    """

    kind: str
    policy: Policy
    what: str
    detail: str
    images_out: int = 0
