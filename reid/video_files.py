"""Which files are footage, by their names. Torch-free."""

from pathlib import Path

__all__ = ["is_video"]

_SUFFIXES = frozenset(
    (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".m2ts", ".ts", ".webm", ".wmv")
)
_RAW = frozenset((".264", ".h264", ".265", ".h265", ".hevc", ".mjpeg", ".mjpg"))  # streams in no container


def is_video(path: Path | str) -> bool:
    """Whether a file has the name of a video."""
    return Path(path).suffix.lower() in _SUFFIXES | _RAW
