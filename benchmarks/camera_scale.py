"""How a camera job grows: two workers against one, and the memory of an hour of footage against that of a
minute.

The footage is the PETS clip, again and again; YOLOX-nano looks at every frame, everything included, each job
in a process of its own. One worker is a job on one core, two workers are the same job on two; beside them
stands the job without workers on all cores, whose one process keeps two cores busy by itself. Memory is the
highest of a process that works through the job with the motion detector on every fifth frame; nothing that
the two jobs keep differs but their length. Needs the real data of REID_SHARED.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from _measure import arguments, report
from camera_job import CLIP, YOLOX, prepare

_CHILD = """
import json, os, sys, time
job, out, workers, cores = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
from serving.spec import load_job
from serving.job.run import Execution, run_job
began = time.perf_counter()
run_job(load_job(job), out, execution=Execution(segment_s=40.0, workers=workers))
seconds = time.perf_counter() - began
# Not getrusage: its highest memory is inherited from the process that started this one.
kb = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "mb": kb / 1024}))
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


def run(job: Path, out: Path, workers: int, cores: int) -> dict[str, float]:
    """Seconds of a job, and the highest resident memory in MB of its process, which does nothing else."""
    command = [sys.executable, "-c", _CHILD, str(job), str(out), str(workers), str(cores)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found


def main() -> None:
    options = arguments(__doc__ or "", clips=3, hour_clips=45)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        job = job_file(folder, options.clips, detector={"name": "yolox", "model": str(YOLOX)})
        ways = {"one": (1, 1), "two": (2, 2), "alone": (1, 2)}
        seconds = {name: run(job, folder / f"out-{name}", *way)["seconds"] for name, way in ways.items()}
        cheap: dict[str, Any] = {"camera": {"step": 5}, "outputs": {"video": False}}
        # A minute out of the middle of the same footage, a border between two files included.
        minute = {**cheap, "camera": {**cheap["camera"], "frames": [401, 1000]}}
        jobs = {
            "minute": lambda: job_file(folder, options.hour_clips, **minute),
            "hour": lambda: job_file(folder, options.hour_clips, **cheap),
        }
        peak = {name: run(write(), folder / f"memory-{name}", 1, 2)["mb"] for name, write in jobs.items()}
    result = {
        "ratios": {
            "two_workers_vs_one": seconds["one"] / seconds["two"],
            "two_workers_vs_job_without_workers": seconds["alone"] / seconds["two"],
            "hour_vs_minute_memory": peak["minute"] / peak["hour"],
        },
        "seconds": seconds,
        "peak_mb": peak,
    }
    rows = [
        ("one worker on one core, s", seconds["one"]),
        ("two workers on two cores, s", seconds["two"]),
        ("two workers against one", seconds["one"] / seconds["two"]),
        ("without workers on two cores, s", seconds["alone"]),
        ("memory of a minute, MB", peak["minute"]),
        (f"memory of {79.5 * options.hour_clips / 60:.0f} min, MB", peak["hour"]),
        ("growth of memory", peak["hour"] / peak["minute"] - 1),
    ]
    report("How a camera job grows", ["", "value"], rows, result, options.json)


if __name__ == "__main__":
    main()
