"""Room for the sockets that Ray opens. Torch-free."""

import os
import tempfile

__all__ = ["leave_room_for_sockets"]

_LONGEST = 40
"""Bytes of the temporary folder's name. A socket's whole path has at most 107, of which Ray's own folders
and names below it take 64.
"""


def leave_room_for_sockets() -> None:
    """Let Ray begin its folders in ``/tmp`` where the temporary folder's name is so long that its sockets
    could not be opened.
    """
    if "RAY_TMPDIR" not in os.environ and len(os.fsencode(tempfile.gettempdir())) > _LONGEST:
        os.environ["RAY_TMPDIR"] = "/tmp"  # noqa: S108
