"""How a camera job grows: two workers against one, and the memory of an hour of footage against that of a minute.

The footage is the PETS clip, again and again. Workers have one thread each and YOLOX-nano looks at every frame, everything
included. Memory is the highest of a process of its own that works through the job with the motion detector on every fifth
frame; nothing that the two jobs keep differs but their length. Needs the real data of REID_SHARED.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from _measure import arguments, report
from camera_job import CLIP, YOLOX, prepare

from serving.job import load_job
from serving.worker import Execution, run_job

_CHILD = """
import json, resource, sys
from serving.job import load_job
from serving.worker import run_job
counts = run_job(load_job(sys.argv[1]), sys.argv[2]).summary["counts"]
print(json.dumps({"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "frames": counts["frames"]}))
"""


def job_file(folder: Path, times: int, **more: Any) -> Path:
    """A job over the clip ``times`` times in a row."""
    footage = folder / f"footage-{times}"
    footage.mkdir(exist_ok=True)
    for number in range(times):
        (footage / f"{number:03d}.avi").unlink(missing_ok=True)
        (footage / f"{number:03d}.avi").symlink_to(CLIP / "vtest.avi")
    camera = {"id": "view1", "source": f"{footage.name}/*.avi", **more.pop("camera", {})}
    path = folder / f"job-{times}.yaml"
    path.write_text(yaml.safe_dump({"cameras": [camera], "model": "model", "gallery": "gallery.db", **more}))
    return path


def seconds(job: Path, out: Path, workers: int) -> float:
    began = time.perf_counter()
    run_job(load_job(job), out, execution=Execution(segment_s=40.0, workers=workers))
    return time.perf_counter() - began


def peak_mb(job: Path, out: Path) -> float:
    """The highest resident memory of a process that does nothing else than the job."""
    child = subprocess.run([sys.executable, "-c", _CHILD, str(job), str(out)], capture_output=True, text=True, check=True)
    return float(json.loads(child.stdout.splitlines()[-1])["mb"])


def main() -> None:
    options = arguments(__doc__ or "", clips=3, hour_clips=45)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        job = job_file(folder, options.clips, detector={"name": "yolox", "model": str(YOLOX)}, threads=1)
        one, two = (seconds(job, folder / f"workers-{workers}", workers) for workers in (1, 2))
        cheap: dict[str, Any] = {"camera": {"step": 5}, "outputs": {"video": False}, "threads": 1}
        minute, hour = (peak_mb(job_file(folder, times, **cheap), folder / f"memory-{times}") for times in (1, options.hour_clips))
    result = {
        "ratios": {"two_workers_vs_one": one / two, "hour_vs_minute_memory": minute / hour},
        "peak_mb": {"minute": minute, "hour": hour},
    }
    rows = [
        ("one worker, s", one),
        ("two workers, s", two),
        ("two workers against one", one / two),
        ("memory of 79 s, MB", minute),
        (f"memory of {79.5 * options.hour_clips / 60:.0f} min, MB", hour),
        ("growth of memory", hour / minute - 1),
    ]
    report("How a camera job grows", ["", "value"], rows, result, options.json)


if __name__ == "__main__":
    main()
