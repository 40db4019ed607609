"""Containers opened and closed: every way into FFmpeg goes through here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from reid.addresses import is_url, redacted
from reid.errors import ReidError
from serving.protocols import container_options, is_playlist, is_playlist_head, is_stored, scheme_problem
from serving.stores import StoredFile

__all__ = ["SOFTWARE", "Opened", "lacking", "no_log_callback", "opened"]

SOFTWARE = "software"  # what decodes, where it is no hardware
_OPEN_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Opened:
    """A container, its video stream, and what is to be said about the choice of it ('' for nothing)."""

    container: Any
    stream: Any
    note: str
    file: StoredFile | None = None  # through which it is read, where it lies in a store
    decoder: str = SOFTWARE  # or the hardware that decodes


def no_log_callback() -> None:
    """Take back whatever callback FFmpeg's messages go to; nothing of them is printed.

    A callback of PyAV's logging takes Python's lock in FFmpeg's decoder threads, and a container is closed
    with that lock held while those threads are waited for: a message at that moment stops the process for
    ever (PyAV #751, #909, #2276). FFmpeg's own callback would print addresses with their passwords. Some
    libraries set one when they are imported (torchvision did for years), so this is done again at each
    opening and closing.
    """
    av.logging.set_level(None)


no_log_callback()


@contextmanager
def opened(
    source: str, timeout_s: float = _OPEN_TIMEOUT_S, version: str = "", decoder: str = SOFTWARE
) -> Iterator[Opened]:
    """A container with a video stream that has a decoder; closed when the block ends.

    An address that gives nothing for ``timeout_s`` is an error. Of several video streams it is the one
    with the largest picture; a cover picture is none. ``version``: that a stored file must have, if it is
    known; when the block ends without an error it is looked at again. ``decoder``: hardware that is to
    decode, where it can be opened; else it is done in software.

    Raises:
        ReidError: the source is missing, empty, no video, of an unknown codec, an address of a protocol
            that is not allowed, or a stored file that cannot be read on or has changed.
    """
    file = StoredFile(source, version) if is_stored(source) else None
    try:
        with _container(source, file, timeout_s, decoder) as container:
            stream, note = _video_stream(container, redacted(source))
            in_hardware = stream.codec_context.is_hwaccel
            if not in_hardware:
                stream.thread_type = "AUTO"
            yield Opened(container, stream, note, file, decoder if in_hardware else SOFTWARE)
    except Exception:
        if file is not None:
            file.check()  # a file that could not be read on looks damaged, too
        raise
    if file is not None:
        file.check_unchanged()


@contextmanager
def _container(source: str, file: StoredFile | None, timeout_s: float, decoder: str) -> Iterator[Any]:
    by_table = _check(source, file)
    no_log_callback()
    name = redacted(source)
    try:
        # The times as they stand in the file: FFmpeg's repair of clocks that turn over takes one that starts
        # again for such a one.
        settings = container_options(source) | {"correct_ts_overflow": "0"}
        if by_table:
            settings["fflags"] = "+noparse"
        open_with = partial(
            av.open,
            # With the protocol in front, a colon in a name is no protocol.
            file or (source if is_url(source) else f"file:{source}"),
            container_options=settings,
            metadata_errors="replace",
            timeout=timeout_s if is_url(source) and file is None else None,
        )
        try:
            container = open_with(hwaccel=_accelerated(decoder))
        except (av.FFmpegError, OSError, ValueError):
            if decoder == SOFTWARE:
                raise
            if file is not None:
                file.seek(0)
            container = open_with()  # its driver is not there, or has no more place
    except (av.FFmpegError, OSError, ValueError) as error:
        # The library's own message repeats the address.
        reason = getattr(error, "strerror", None) or type(error).__name__
        hint = (
            "check the address and that the camera is on"
            if is_url(source) and file is None
            else "it is cut off, damaged or no video; copy it again"
        )
        raise ReidError(f"video {name} cannot be opened ({reason}): {hint}") from None
    try:
        yield container
    finally:
        no_log_callback()
        container.close()


def lacking(kind: str) -> str:
    """Why this PyAV cannot use a kind of hardware at all; '' where it can."""
    # FFmpeg takes a kind that it was not built with for "any", and decodes by another.
    return "" if kind in hwdevices_available() else "the PyAV that is installed was built without it"


def _accelerated(decoder: str) -> HWAccel | None:
    if decoder == SOFTWARE or lacking(decoder):
        return None
    # FFmpeg goes back to software itself where the hardware does not take a stream's profile.
    return HWAccel(decoder, allow_software_fallback=True)


def _check(source: str, file: StoredFile | None) -> bool:
    """Refuse what FFmpeg shall not see; return whether the table of a stored MP4 is to be believed without a
    look into its packets, see :mod:`serving.stores.payload`.

    Raises:
        ReidError: the source is missing, empty, a playlist, or of a protocol that is not allowed.
    """
    name, path = redacted(source), Path(source)
    if file is None and is_url(source):
        if problem := scheme_problem(source):
            raise ReidError(f"video {name}: {problem}")
        return False
    if file is None and not path.is_file():
        raise ReidError(f"video {name} does not exist: check the path")
    if (path.stat().st_size if file is None else file.size) == 0:
        raise ReidError(f"video {name} is empty (0 bytes): copy it again")
    head = b""
    if file is not None:
        head = file.read(16)
        file.check()
        file.seek(0)
    if is_playlist_head(head) if file is not None else is_playlist(path):
        raise ReidError(
            f"video {name} is a playlist or script, which may lead to other files and hosts: name "
            "the videos themselves"
        )
    return head[4:8] == b"ftyp"


def _video_stream(container: Any, name: str) -> tuple[Any, str]:
    streams = [
        one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"}) or ["nothing"]
        raise ReidError(f"video {name} holds no picture, only {', '.join(kinds)}: name a file with video")
    usable = [stream for stream in streams if stream.codec_context is not None]
    if not usable:
        raise ReidError(f"video {name}: there is no decoder for its codec; convert it to H.264")
    best = max(usable, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    if len(streams) == 1:
        return best, ""
    size = f"{best.codec_context.width}x{best.codec_context.height}"
    return best, f"video {name} holds {len(streams)} pictures: the largest is used, {size}"
