"""How a command or a stage ends: at once, and where it cannot go on with one line on standard error and an
exit code.
"""

import atexit
import gc
import sys
from typing import NoReturn

from reid.errors import ReidError
from reid.system_errors import os_problem

__all__ = ["end_quickly", "end_with"]

_LONGEST = 1200  # characters of a line: what is longer repeats somebody's words


def end_quickly() -> None:
    """Leave out the search for cycles with which the interpreter ends: of all that torch and MLflow have
    imported it is a quarter of a short command's time, and what it finds is the system's anyway.
    """
    atexit.register(gc.freeze)


def end_with(error: ReidError | OSError) -> NoReturn:
    """Say an error that is meant for people, or one of the system's: a full disk, a folder that cannot be
    written.
    """
    shown = error if isinstance(error, ReidError) else os_problem(error)
    # A name that is no UTF-8 is in a message as the system gave it, which the terminal could not show.
    line = " ".join(str(shown).split("\n")).encode("utf-8", "backslashreplace").decode()
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 4 :]}"
    sys.stderr.write(f"reid: {line}\n")
    sys.exit(shown.exit_code)
