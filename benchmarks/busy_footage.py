"""Footage in which somebody always walks, end to end: the PETS clip by the settings of before, against steps
that adapt to how people move (``adaptive``). Both run in turns, in the same process, with the annotated video
and without; sightings, scores and the detector's looks stand beside. Needs the real data of REID_SHARED.

The detector is YOLOX-nano in the runtime that ``auto`` chooses. What is measured is wall time, from the job
to its finished folder, and processor time, which other work on the machine moves less; a run before the
rounds opens files and remembers the runtimes.
"""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _measure import abilities, arguments, report
from camera_job import CLIP, PEOPLE, job_of, prepare

from reid.processors import processors
from serving.job.run import run_job
from serving.scoring import score_job
from serving.spec import AdaptiveSpec, Outputs

WAYS = {"every frame": AdaptiveSpec(), "adaptive": AdaptiveSpec(enabled=True)}
SCORES = ("idf1", "mota", "hota", "recall", "named_right", "named_wrong")
COUNTS = ("looked_at", "between", "sightings")


def _said(what: str, video: bool) -> str:
    return what if video else f"{what}, no video"


def main() -> None:
    options = arguments(__doc__ or "", rounds=3, no_video=1)
    outputs = (True, False) if options.no_video else (True,)
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    processor: dict[tuple[str, bool], list[float]] = defaultdict(list)
    ratios: dict[bool, list[float]] = defaultdict(list)
    less: dict[bool, list[float]] = defaultdict(list)
    result: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        run_job(job_of(folder, Outputs(video=False)), folder / "opened")
        for number in range(options.rounds):
            for video in outputs:
                # Each way is first in every second round.
                for way in list(WAYS)[:: 1 if number % 2 == 0 else -1]:
                    job = job_of(folder, Outputs(video=video)).model_copy(update={"adaptive": WAYS[way]})
                    out = folder / f"{way}-{video}-{number}"
                    began, busy = time.perf_counter(), time.process_time()
                    summary = run_job(job, out).summary
                    seconds[way, video].append(time.perf_counter() - began)
                    processor[way, video].append(time.process_time() - busy)
                    print(f"{way}, {video}: {seconds[way, video][-1]:.1f} s", file=sys.stderr, flush=True)
                    if way not in result:
                        total = score_job(out, {"": CLIP / "gt.txt"}, people=PEOPLE).as_dict()["total"]
                        result[way] = {name: summary["counts"][name] for name in COUNTS}
                        result[way] |= {name: total[name] for name in SCORES}
                ratios[video].append(seconds["every frame", video][-1] / seconds["adaptive", video][-1])
                less[video].append(processor["every frame", video][-1] / processor["adaptive", video][-1])
    frames = summary["counts"]["frames"]
    for video in outputs:
        for way in WAYS:
            result[way][_said("seconds", video)] = statistics.median(seconds[way, video])
            result[way][_said("processor seconds", video)] = statistics.median(processor[way, video])
    rows = [(name, *(result[way][name] for way in WAYS)) for name in result["adaptive"]]
    gains = {_said("times as fast", video): statistics.median(ratios[video]) for video in outputs}
    gains |= {_said("less processor time", video): statistics.median(less[video]) for video in outputs}
    rows += [(name, "", value) for name, value in gains.items()]
    title = f"{frames} frames, {processors()} processors, {abilities()}, {datetime.now(UTC):%Y-%m-%d}"
    report(title, ["", *WAYS], rows, {"ways": result, "ratios": gains}, options.json)


if __name__ == "__main__":
    main()
