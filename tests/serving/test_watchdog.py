"""The watchdog ends no process that is only stopped."""

import signal
import subprocess
import sys
import time

_PAUSED = """
import time
from serving.watchdog import ended_when_stuck

with ended_when_stuck(0.4):
    print("ready", flush=True)
    for _ in range(20):
        time.sleep(0.1)
print("done")
"""


def test_ctrl_z_ends_no_job() -> None:
    # A group of its own with this session as its keeper: the kernel stops no group that nobody could
    # continue.
    command = [sys.executable, "-c", _PAUSED]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTSTP)
        time.sleep(3)  # beyond 0.4 s and its margin of 0.8 s
        assert process.poll() is None
        process.send_signal(signal.SIGCONT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "done\n"), error
