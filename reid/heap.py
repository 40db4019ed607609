"""Keep the memory that a training step frees, instead of handing it back and faulting it in again page by page."""

import ctypes
import platform

__all__ = ["keep_freed_memory"]

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER, _LARGEST_KEPT = 2**31 - 1, 2**30


def keep_freed_memory() -> bool:
    """Let the C library reuse freed blocks of up to 1 GB for the rest of the process; whether it could be told (glibc only).

    A step allocates and frees the same activations each time. By default blocks of megabytes are mapped anew for each of them: thousands
    of page faults a step.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_TRIM_THRESHOLD, _NEVER) and library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT))
