"""Footage in which little happens, end to end: a job that looks at what moves (``idle``), against the same
job looking at every frame, and against decoding alone.

The footage is made of real pieces: the PETS clip's own background, which is its median, with sensor noise of
its own in each frame, and stretches in which somebody cut out of the clip is moved through it; nine tenths of
it are empty. It is encoded as H.264 by x264 with a key frame every two seconds. Beside it stands the PETS
clip as it is, where somebody always walks (``--busy 0``: not): sightings and scores with the look and
without. Rounds take turns; a job before them opens files and remembers the runtimes. Seconds are those of
the clock and those of the processors (workers' too), which other work on the machine moves less.

``--adaptive 1`` adds a job that is ``adaptive`` too; ``--workers`` and ``--segment-s`` are those of all jobs.
Needs the real data of REID_SHARED.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from _measure import abilities, arguments, peak_rss_gb, report
from camera_job import CLIP, PEOPLE, job_of, prepare

from serving.job.layout import JobFolder
from serving.job.run import Execution, run_job
from serving.scoring import score_job
from serving.spec import AdaptiveSpec, Camera, IdleSpec, Job, Outputs
from serving.video import open_footage, read_frames, read_pictures

FPS = 10
BUSY = 0.1  # of the time
STRETCH_S = 6.0  # in which somebody walks through the picture
NOISE = 2.0  # grey levels
GOP_S = 2


def background() -> np.ndarray:
    """(H, W, 3) uint8: the median of the clip's frames."""
    every = read_frames(open_footage([str(CLIP / "vtest.avi")]), step=20)
    return np.median(np.stack([frame.image for frame in every]), axis=0).astype(np.uint8)


def walkers() -> list[np.ndarray]:
    """People cut out of the clip by the truth, with the frame's own ground around them."""
    rows = np.loadtxt(CLIP / "gt.txt", delimiter=",")
    cuts: list[np.ndarray] = []
    for frame in read_frames(open_footage([str(CLIP / "vtest.avi")]), step=100):
        for _, _, x, y, w, h in rows[rows[:, 0] == frame.number][:, :6].astype(int):
            if w > 20 and x >= 0 and y >= 0:
                cuts.append(frame.image[y : y + h, x : x + w].copy())
    return cuts


def write_footage(path: Path, minutes: float, width: int, height: int) -> None:
    """A walk of ``STRETCH_S`` seconds at the begin of each period, the rest of it empty."""
    ground = cv2.resize(background(), (width, height), interpolation=cv2.INTER_CUBIC)
    scale, cuts = height / 576, walkers()
    rng = np.random.default_rng(0)
    noises = [rng.normal(0, NOISE, ground.shape[:2]).astype(np.int16)[..., None] for _ in range(16)]
    period = round(STRETCH_S / BUSY * FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = GOP_S * FPS
        for number in range(round(minutes * 60 * FPS)):
            image, at = ground, number % period - period // 2
            if 0 <= at < STRETCH_S * FPS:
                cut = cuts[number // period % len(cuts)]
                cut = cv2.resize(cut, None, fx=scale, fy=scale)
                x = round(at / (STRETCH_S * FPS) * (width + cut.shape[1])) - cut.shape[1]
                y, left = height // 2, max(x, 0)
                part = cut[:, left - x : left - x + width - left]
                image = ground.copy()
                image[y : y + len(part), left : left + part.shape[1]] = part
            noisy = np.clip(image + noises[int(rng.integers(16))], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="bgr24")))
        container.mux(stream.encode())


def decoded(path: Path) -> Callable[[], None]:
    def run() -> None:
        for _ in read_pictures(open_footage([str(path)])):
            pass

    return run


def people_of(out: Path) -> list[tuple[int, int, str]]:
    rows = JobFolder(out).read_sightings().to_pylist()
    return [(row["start_frame"], row["end_frame"], row["identity"]) for row in rows]


def processor_s() -> float:
    """Of this process and those of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def ratios_of(median: dict[str, float]) -> dict[str, float]:
    """How many times as fast each way is as looking at every frame and as decoding alone."""
    found = {}
    for name, value in median.items():
        clip, way = name.split(", ")
        if way.startswith("what moves"):
            found[f"{name}, against every frame"] = median[f"{clip}, every frame"] / value
            found[f"{name}, against decoding alone"] = median[f"{clip}, decoding alone"] / value
    return found


def main() -> None:
    clip_options = {"minutes": 10.0, "rounds": 2, "width": 768, "height": 576, "busy": 1}
    options = arguments(__doc__ or "", **clip_options, adaptive=0, workers=1, segment_s=60.0)
    seconds: dict[str, list[float]] = defaultdict(list)
    busy: dict[str, list[float]] = defaultdict(list)
    still, moving = IdleSpec(enabled=False), IdleSpec()
    ways = {"every frame": (still, AdaptiveSpec()), "what moves": (moving, AdaptiveSpec())}
    if options.adaptive:
        ways["what moves and adaptive"] = (moving, AdaptiveSpec(enabled=True))
    execution = Execution(options.segment_s, options.workers)

    def timed(name: str, run: Callable[[], Any]) -> Any:
        began, before = time.perf_counter(), processor_s()
        value = run()
        seconds[name].append(time.perf_counter() - began)
        busy[name].append(processor_s() - before)
        print(
            f"{name}: {seconds[name][-1]:.1f} s, processor {busy[name][-1]:.1f} s",
            file=sys.stderr,
            flush=True,
        )
        return value

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        idle = folder / "idle.mp4"
        write_footage(idle, options.minutes, options.width, options.height)
        clips = {"idle": idle} | ({"busy": CLIP / "vtest.avi"} if options.busy else {})

        def job(path: Path, way: str = "every frame", frames: tuple[int, int] | None = None) -> Job:
            camera = Camera(id="view1", source=str(path), frames=frames)
            spec, adaptive = ways[way]
            changed = {"idle": spec, "adaptive": adaptive, "cameras": (camera,)}
            outputs = Outputs(video=False, report=False, segments=False)
            return job_of(folder, outputs).model_copy(update=changed)

        run_job(job(idle, frames=(1, 20)), folder / "opened")
        found: dict[str, Any] = {}
        for number in range(options.rounds):
            for clip, path in clips.items():
                for way in ways:
                    name, out = f"{clip}, {way}", folder / f"{clip}-{way}-{number}"
                    result = timed(name, partial(run_job, job(path, way), out, execution=execution))
                    found[name] = (out, result.summary["counts"], result.summary["seconds"])
                timed(f"{clip}, decoding alone", decoded(path))
        scores = {
            way: score_job(found[f"busy, {way}"][0], {"": CLIP / "gt.txt"}, people=PEOPLE).as_dict()["total"]
            for way in ways
            if options.busy
        }
        people = {name: people_of(out) for name, (out, _, _) in found.items()}
    frames = {name: counts["frames"] for name, (_, counts, _) in found.items()}
    median = {name: statistics.median(values) for name, values in seconds.items()}
    processor = {name: statistics.median(values) for name, values in busy.items()}
    result: dict[str, Any] = {
        "abilities": abilities(),
        "ratios": ratios_of(median),
        "processor_ratios": ratios_of(processor),
        "counts": {
            name: {key: counts[key] for key in ("frames", "looked_at", "forced", "skipped", "sightings")}
            for name, (_, counts, _) in found.items()
        },
        "same_sightings": {
            name: people[f"{name.split(', ')[0]}, every frame"] == those
            for name, those in people.items()
            if "what moves" in name
        },
        "seconds_of_steps": {name: steps for name, (_, _, steps) in found.items()},
        "scores": scores,
        "peak_rss_gb": peak_rss_gb(),
    }
    title = f"{options.minutes:g} min of {options.width}x{options.height}, {abilities()}"
    rows = [
        (name, value, processor[name], frames[f"{name.split(', ')[0]}, every frame"] / value)
        for name, value in median.items()
    ]
    report(title, ["", "s", "processor s", "frames/s"], rows, {}, False)
    rows = [(name, *counts.values()) for name, counts in result["counts"].items()]
    report("Frames", ["", "all", "looked at", "forced", "skipped", "sightings"], rows, {}, False)
    rows = [(name, value, result["processor_ratios"][name]) for name, value in result["ratios"].items()]
    report("Times as fast", ["", "clock", "processor"], rows, {}, False)
    rows = [(f"same sightings, {name}", same) for name, same in result["same_sightings"].items()]
    rows += [
        (f"{name} of the busy clip, {way}", one[name])
        for name in ("hota", "idf1", "mota")
        for way, one in scores.items()
    ]
    rows += [("highest memory of this process, GB", result["peak_rss_gb"])]
    report("Sightings and scores", ["", "value"], rows, result, options.json)


if __name__ == "__main__":
    main()
