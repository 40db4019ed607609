"""A job that is killed outright thirty times, at random moments, ends with the rows of one that nobody
disturbed.

A helper forks a child for each attempt, so that imports are paid once and thirty kills take seconds.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.job.run import Execution, run_job
from serving.spec import load_job
from tests.serving.execution_job import SEGMENT_S, make_place, same_rows

KILLS = 30
_HELPER = """
import json, os, random, signal, sys, time
from pathlib import Path
import av, cv2, onnxruntime, trackers, serving.job.outputs
from serving.spec import load_job
from serving.job.run import Execution, run_job

job, out = sys.argv[1], Path(sys.argv[2])
longest, segment_s, kills = float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
work, chance = out.parent / f".{out.name}.work", random.Random(9)
killed = finished = again = 0
status, kept = None, {}
while killed < kills or status:
    if not (child := os.fork()):
        run_job(load_job(job), out, execution=Execution(segment_s))
        os._exit(0)
    if killed < kills:
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed += status == signal.SIGKILL
    assert status in (0, signal.SIGKILL), status
    stored = {path.parent.name: path.stat().st_mtime_ns for path in work.glob("*/counts.json")}
    if work.exists():
        again += sum(stored.get(name) != stamp for name, stamp in kept.items())
    kept = stored
    if status == 0:
        finished += 1
        out.rename(out.with_name(f"{out.name}-{finished}"))
print(json.dumps({"killed": killed, "finished": finished, "stored segments done again": again}))
"""


@pytest.mark.slow
def test_killed_thirty_times_at_random_moments_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    place = make_place(tmp_path, cameras=1)
    job = load_job(place / "job.yaml")
    straight = run_job(job, place / "straight", execution=Execution(SEGMENT_S)).out
    began = time.monotonic()
    run_job(job, place / "again", execution=Execution(SEGMENT_S))
    # Long enough for most attempts to get on by a segment or two, and for some to get to the end.
    longest = (time.monotonic() - began) / 4
    out = place / "killed"
    arguments = [str(place / "job.yaml"), str(out), str(longest), str(SEGMENT_S), str(KILLS)]
    helper = subprocess.run(
        [sys.executable, "-c", _HELPER, *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert helper.returncode == 0, helper.stderr
    counts = json.loads(helper.stdout.splitlines()[-1])
    assert counts["killed"] == KILLS
    assert counts["stored segments done again"] == 0
    for number in range(1, counts["finished"] + 1):
        same_rows(straight, place / f"killed-{number}")
    assert not list(place.glob(".killed*"))
