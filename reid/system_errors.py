"""What the operating system refuses, in one line with the path and the way out. Torch-free."""

import errno
import os
from pathlib import Path

from reid.errors import ReidError

__all__ = ["NO_ROOM", "os_problem", "shown"]

NO_ROOM = {
    errno.ENOSPC: "free some space, or name a folder on another disk",
    errno.EDQUOT: "free some of your quota, or name a folder on another disk",
    errno.EFBIG: "name a folder on a disk that holds files of that size",
    errno.EROFS: "the disk is read-only, name a folder on another one",
}
"""What only writing can meet, whichever file the system names."""
_WAYS_OUT = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, check the path",
    errno.EEXIST: "a part of the path is a file, check the path",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ELOOP: "a link there points to itself, check the path",
    errno.EBUSY: "it is in use or a mount, name a folder inside it",
    errno.EMFILE: "too many files are open, raise the limit with `ulimit -n`",
}


def os_problem(error: OSError, path: Path | str | None = None) -> ReidError:
    """The error that a person meets, about ``path`` or, where that is None, about the file that the system
    names.
    """
    named = path if path is not None else error.filename
    where = shown(os.fsdecode(named)) if isinstance(named, str | bytes | os.PathLike) else "a file"
    # Libraries raise it with a text of their own and no number.
    reason = (
        os.strerror(error.errno)
        if error.errno
        else shown(" ".join(str(error).split())) or type(error).__name__
    )
    if error.errno in NO_ROOM:
        return ReidError(f"{where} cannot be written ({reason}): {NO_ROOM[error.errno]}")
    way_out = _WAYS_OUT.get(
        error.errno or 0, "check its permissions and those of its folder, or name another"
    )
    return ReidError(f"{where} cannot be used ({reason}): {way_out}")


def shown(name: str) -> str:
    """A name as a message shows it: whole, or its two ends where it is very long; what cannot be printed is
    escaped.
    """
    name = name if len(name) <= 300 else f"{name[:120]}...{name[-60:]}"
    return name.encode("utf-8", "backslashreplace").decode()
