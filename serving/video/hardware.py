"""Decoding by hardware, where there is any: NVIDIA's (``cuda``) and what VAAPI reaches (Intel, AMD).

Pictures come back into memory, so that everything after the decoder is the same. Whether this machine has
such hardware, and it gives the same pictures, is tried before it is used; what cannot be decoded so is
decoded in software, and said.
"""

from collections.abc import Sequence

from av.codec.hwaccel import HWAccel, hwdevices_available

__all__ = ["KINDS", "SOFTWARE", "accelerated", "kinds_of", "lacking"]

SOFTWARE = "software"
KINDS = ("cuda", "vaapi")  # in the order in which ``auto`` tries them


def kinds_of(wish: str) -> Sequence[str]:
    """The hardware that a camera's ``decode`` asks for."""
    return KINDS if wish == "auto" else () if wish == SOFTWARE else (wish,)


def lacking(kind: str) -> str:
    """Why this PyAV cannot use a kind of hardware at all; '' where it can."""
    # FFmpeg takes a kind that it was not built with for "any", and decodes by another.
    return "" if kind in hwdevices_available() else "the PyAV that is installed was built without it"


def accelerated(decoder: str) -> HWAccel | None:
    """What a container is opened with to be decoded by ``decoder``."""
    if decoder == SOFTWARE or lacking(decoder):
        return None
    # FFmpeg goes back to software itself where the hardware does not take a stream's profile.
    return HWAccel(decoder, allow_software_fallback=True)
