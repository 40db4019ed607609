"""The last resort against a process that stands still as a whole: it ends, and whoever started it goes on.

:mod:`serving.video.ahead` sees a decoder that gives nothing as long as Python runs. When native code keeps
the interpreter's lock for ever, only a thread that needs no lock can act, and ``faulthandler`` has one: it
ends the process unless it is put off each second.

Its clock goes on while the process is stopped. Ctrl-Z is therefore caught, and the clock taken away until the
process goes on. SIGSTOP cannot be caught: a process stopped by it for longer than the time ends when it goes
on, and what it had finished is kept.
"""

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

__all__ = ["ended_when_stuck", "exit_when_stuck"]

_MARGIN_S = 30.0  # longer than any library holds the interpreter's lock in one piece
_arming = threading.Lock()


@lru_cache(maxsize=1)
def exit_when_stuck(stall_s: float) -> None:
    """End this worker process with code 1, and without a word, once its interpreter has not run for
    ``stall_s`` and half a minute.
    """
    _pause_on_ctrl_z()
    threading.Thread(
        target=_put_off, args=(stall_s, threading.Event(), os.open(os.devnull, os.O_WRONLY)), daemon=True
    ).start()


@contextmanager
def ended_when_stuck(stall_s: float) -> Iterator[None]:
    """End this process with code 1, with the stacks of its threads on standard error, when that happens
    inside the block.
    """
    _pause_on_ctrl_z()
    done = threading.Event()
    thread = threading.Thread(
        target=_put_off, args=(stall_s, done, sys.__stderr__.fileno() if sys.__stderr__ else 2), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _put_off(stall_s: float, done: threading.Event, file: int) -> None:
    while not done.is_set():
        with _arming:
            faulthandler.dump_traceback_later(stall_s + min(_MARGIN_S, 2 * stall_s), exit=True, file=file)
        done.wait(1.0)
    faulthandler.cancel_dump_traceback_later()


def _pause_on_ctrl_z() -> None:
    """Stop without the clock. Only the main thread may set handlers; tasks of Ray run in others, and no
    terminal stops them.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTSTP, _stop)


def _stop(number: int, frame: object) -> None:
    # Held while stopped, so that the clock starts again only afterwards: by the loop above, within a second.
    with _arming:
        faulthandler.cancel_dump_traceback_later()
        os.kill(os.getpid(), signal.SIGSTOP)
