"""Settings of the C library's memory allocator for long runs. Only the GNU C library has them: elsewhere the
functions do nothing and return False.
"""

import ctypes
import platform

__all__ = ["give_back_memory", "keep_freed_memory", "share_heap"]

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_NEVER, _LARGEST_KEPT = 2**31 - 1, 2**30


def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> bool:
    """Let the C library reuse freed blocks of up to 1 GB for the rest of the process, instead of handing them
    back.

    A training step allocates and frees the same activations each time. By default blocks of megabytes are
    mapped anew for each of them: thousands of page faults a step.
    """
    library = _library()
    return library is not None and bool(
        library.mallopt(_TRIM_THRESHOLD, _NEVER) and library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    )


def share_heap() -> bool:
    """Let all threads of the process take their memory from one heap.

    By default each of a camera job's many threads may get one of its own, where what one of them frees is of
    no use to the others: over an hour that came to 160 MB.
    """
    library = _library()
    return library is not None and bool(library.mallopt(_ARENA_MAX, 1))


def give_back_memory() -> bool:
    """Hand freed blocks back to the system; whether there were any."""
    library = _library()
    return library is not None and bool(library.malloc_trim(0))
