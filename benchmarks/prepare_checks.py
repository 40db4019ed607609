"""The prepare stage's checks on many images with some broken ones: images per second, memory, and whether
every image is accounted for.

The peer opens the same files one after another with Pillow and decodes them, which is the least a check must
do.
"""

import resource
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from _measure import arguments, peak_rss_gb, report
from PIL import Image

from reid.data.catalog import Record
from reid.data.checks import inspect
from reid.data.findings import KINDS

BROKEN = ("empty", "text", "truncated", "tiny", "missing")


def make(folder: Path, count: int, broken_share: float) -> tuple[list[Record], int]:
    """Small JPEGs, none like another; every so often a broken one, the kinds in turns."""
    rng = np.random.default_rng(0)
    step = round(1 / broken_share)
    records = []
    broken = 0
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        records.append(Record(path, f"{number // 20:05d}", str(number % 4), "train"))
        image = cv2.resize(rng.integers(0, 255, (6, 3, 3), np.uint8), (32, 64), interpolation=cv2.INTER_CUBIC)
        data = cv2.imencode(".jpg", image)[1].tobytes()
        if number % step == step - 1:
            kind = BROKEN[broken % len(BROKEN)]
            broken += 1
            tiny = cv2.imencode(".jpg", image[:4, :4])[1].tobytes()
            data = {
                "empty": b"",
                "text": b"not an image",
                "truncated": data[: len(data) // 2],
                "tiny": tiny,
                "missing": data,
            }[kind]
            if kind == "missing":
                continue
        path.write_bytes(data)
    return records, broken


def peer(records: list[Record]) -> int:
    good = 0
    for record in records:
        try:
            with Image.open(record.path) as image:
                image.load()
            good += 1
        except OSError:
            continue
    return good


def main() -> None:
    chosen = arguments(__doc__ or "", count=100_000, broken=0.01, peer_count=5_000)
    policies = {
        kind: "leave_out" if "leave_out" in value.choices else "keep" for kind, value in KINDS.items()
    }
    policies |= {"near_duplicate": "keep", "single_image": "keep", "single_camera": "keep"}
    folder = Path(tempfile.mkdtemp(prefix="checks-"))
    try:
        records, broken = make(folder, chosen.count, chosen.broken)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        done = inspect(records, folder, policies)
        seconds = time.perf_counter() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        started = time.perf_counter()
        peer(records[: chosen.peer_count])
        alone = min(chosen.peer_count, chosen.count) / (time.perf_counter() - started)
    finally:
        shutil.rmtree(folder)
    left_out = sum(problem.images_out for problem in done.problems)
    kinds = Counter(problem.kind for problem in done.problems)
    rate = chosen.count / seconds
    result = {
        "ratios": {"images_per_second_vs_pillow": rate / alone},
        "images_per_second": rate,
        "peak_rss_gb": peak_rss_gb(),
        "memory_grown_mb": grown,
        "counts": {"in": done.images_in, "kept": len(done.rows), "left_out": left_out, "broken": broken},
        "adds_up": len(done.rows) + left_out == done.images_in,
        "findings": dict(kinds),
    }
    rows = [
        ["images/s", rate],
        ["Pillow alone, images/s", alone],
        ["seconds", seconds],
        ["memory grown, MB", grown],
    ]
    rows += [["images kept", len(done.rows)], ["images left out", left_out], ["images broken", broken]]
    report(f"Checks of {chosen.count:,} images", ["what", "value"], rows, result, chosen.json)


if __name__ == "__main__":
    main()
