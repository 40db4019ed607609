"""How fast the synthetic town is rendered: crops and frames of footage a second, by several processes against
one.

``--people 5000 --cameras 4 --images 5`` renders a town of 100,000 crops; with ``--baseline-people 0`` without
the one process beside it.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

from _measure import arguments, peak_rss_gb, report

from reid.data.synthetic import TownSpec, generate_town


def rendered(spec: TownSpec, processes: int) -> dict[str, float]:
    """Render a town and throw it away; seconds and megabytes on disk."""
    folder = Path(tempfile.mkdtemp(prefix="town-"))
    try:
        started = time.perf_counter()
        generate_town(spec, folder, range(1, spec.people + 1), processes=processes)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "mb": sum(path.stat().st_size for path in folder.rglob("*.*")) / 1e6}
    finally:
        shutil.rmtree(folder)


def crops_of(spec: TownSpec) -> int:
    return spec.people * spec.cameras * spec.images_per_camera


def main() -> None:
    chosen = arguments(
        __doc__ or "", people=500, cameras=4, images=5, baseline_people=100, processes=os.cpu_count() or 1
    )
    few = {
        "footage_people": 1,
        "footage_seconds": 6.0,
        "footage_fps": 2,
        "footage_width": 160,
        "footage_height": 120,
    }
    crops = TownSpec(people=chosen.people, cameras=chosen.cameras, images_per_camera=chosen.images, **few)
    footage = TownSpec(people=8, cameras=chosen.cameras, images_per_camera=1)
    many = rendered(crops, chosen.processes)
    filmed = rendered(footage, chosen.processes)
    frames = footage.cameras * footage.footage_seconds * footage.footage_fps
    result = {
        "crops": crops_of(crops),
        "crops_per_second": crops_of(crops) / many["seconds"],
        "seconds": many["seconds"],
        "megabytes": many["mb"],
        "frames_per_second": frames / filmed["seconds"],
        "processes": chosen.processes,
        "peak_rss_gb": peak_rss_gb(),
    }
    if chosen.baseline_people:
        one = TownSpec(
            people=chosen.baseline_people, cameras=chosen.cameras, images_per_camera=chosen.images, **few
        )
        alone = crops_of(one) / rendered(one, 1)["seconds"]
        result |= {
            "crops_per_second_alone": alone,
            "ratios": {"processes_vs_one": result["crops_per_second"] / alone},
        }
    rows = [[key.replace("_", " "), value] for key, value in result.items() if isinstance(value, int | float)]
    report(
        f"The synthetic town, {crops.people:,} people in {crops.cameras} cameras",
        ["what", "value"],
        rows,
        result,
        chosen.json,
    )


if __name__ == "__main__":
    main()
