"""Containers opened and closed: every way into FFmpeg goes through here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from reid.errors import ReidError
from serving.job import is_url, redacted
from serving.protocols import container_options, is_playlist

__all__ = ["no_log_callback", "opened"]

_OPEN_TIMEOUT_S = 20.0


def no_log_callback() -> None:
    """Take back whatever callback FFmpeg's messages go to; nothing of them is printed.

    A callback of PyAV's logging takes Python's lock in FFmpeg's decoder threads, and a container is closed with that lock held while
    those threads are waited for: a message at that moment stops the process for ever (PyAV #751, #909, #2276). FFmpeg's own callback
    would print addresses with their passwords. Some libraries set one when they are imported (torchvision did for years), so this is
    done again at each opening and closing.
    """
    av.logging.set_level(None)


no_log_callback()


@contextmanager
def opened(source: str) -> Iterator[Any]:
    """A container with a first video stream that has a decoder; closed when the block ends.

    Raises:
        ReidError: the source is missing, empty, no video, or of an unknown codec.
    """
    container = _open(source)
    try:
        yield container
    finally:
        no_log_callback()
        container.close()


def _open(source: str) -> Any:
    name = redacted(source)
    if not is_url(source):
        path = Path(source)
        if not path.is_file():
            raise ReidError(f"video {name} does not exist: check the path")
        if path.stat().st_size == 0:
            raise ReidError(f"video {name} is empty (0 bytes): copy it again")
        if is_playlist(path):
            raise ReidError(f"video {name} is a playlist or script, which may lead to other files and hosts: name the videos themselves")
    no_log_callback()
    try:
        container = av.open(source, options=container_options(source), timeout=_OPEN_TIMEOUT_S if is_url(source) else None)
    except (av.FFmpegError, OSError, ValueError) as error:
        # The library's own message repeats the address.
        reason = getattr(error, "strerror", None) or type(error).__name__
        hint = "check the address and that the camera is on" if is_url(source) else "it is damaged or no video; copy it again"
        raise ReidError(f"video {name} cannot be opened ({reason}): {hint}") from None
    if not container.streams.video:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        container.close()
        raise ReidError(f"video {name} holds no picture, only {', '.join(kinds)}: name a file with video")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise ReidError(f"video {name}: there is no decoder for its codec; convert it to H.264")
    stream.thread_type = "AUTO"
    return container
