"""What libraries print on standard error by themselves: libpng's, libtiff's and libjpeg's lines about files
that we speak of ourselves.
"""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_library_lines"]

_LINES = (
    *(
        b"libpng ",
        b"TIFF",
        b"_TIFF",
        b"Corrupt JPEG",
        b"Premature end of JPEG",
        b"Invalid SOS",
        b"Unsupported marker",
    ),
    *(b"[ WARN:", b"[ERROR:", b"Warning: unknown JFIF"),
)


@contextmanager
def without_library_lines() -> Iterator[None]:
    """Leave out those lines; all others, and everything that Python writes, reach the screen as ever.

    The libraries know nothing of Python's streams: they write to file descriptor 2. That becomes a pipe which
    a thread reads, while ``sys.stderr`` keeps the screen itself.
    """
    # Pillow's, of Python: what its readers skip in a damaged file.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    screen = sys.stderr
    if not _is_standard(screen):  # of a test that catches it, or of an application around us
        yield
        return
    screen.flush()
    kept = os.dup(2)
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    reader = threading.Thread(target=_pass_on, args=(read, kept), daemon=True)
    reader.start()
    sys.stderr = open(  # noqa: SIM115
        kept, "w", encoding=screen.encoding, errors="backslashreplace", buffering=1, closefd=False
    )
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = screen
        os.dup2(kept, 2)  # the pipe's last writer, unless a child process still has it
        reader.join(1.0)
        os.close(kept)


def _is_standard(stream: object) -> bool:
    try:
        standard = sys.__stderr__
        return standard is not None and stream is standard and standard.fileno() == 2
    except (OSError, ValueError):
        return False


def _pass_on(read: int, screen: int) -> None:
    with open(read, "rb") as lines:
        for line in lines:
            if not line.startswith(_LINES):
                try:
                    os.write(screen, line)
                except OSError:  # the screen was closed, as by the command that took the output
                    return
