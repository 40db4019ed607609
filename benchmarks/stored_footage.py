"""An hour of footage in an S3 store (moto's, on loopback) beside the same file on disk: its index, and frames
out of its middle. Bytes are those fetched from the store.

``REID_SHARED=... python benchmarks/stored_footage.py [--json]``; needs the extra ``dev``.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from serving.stores import StoredFile  # noqa: E402
from serving.video import Footage, open_footage, read_pictures  # noqa: E402
from tests.serving.bucket import bucket  # noqa: E402

COPIES, FIRST, LAST = 45, 6000, 7000


def write_hour(clip: Path, path: Path) -> None:
    """The clip of 79.5 s as H.264, 45 times."""
    short = path.with_name("short.mp4")
    with av.open(str(clip)) as source, av.open(str(short), "w") as target:
        stream = target.add_stream("libx264", rate=10, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 768, 576, "yuv420p"
        stream.codec_context.gop_size = 50
        for number, one in enumerate(source.decode(video=0)):
            frame = one.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    base = 0
    with av.open(str(path), "w") as target:
        stream = None
        for _ in range(COPIES):
            with av.open(str(short)) as source:
                stream = stream or target.add_stream_from_template(source.streams.video[0])
                end = 0
                for packet in source.demux(video=0):
                    if packet.dts is None:
                        continue
                    end = max(end, packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = packet.pts + base, packet.dts + base, stream
                    target.mux(packet)
                base += end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    clip = Path(os.environ.get("REID_SHARED", ROOT.parent / "shared")) / "data/pets09_s2l1/vtest.avi"
    sizes: list[int] = []
    fetch = StoredFile._fetched

    def counted(self: StoredFile, first: int, end: int) -> bytes:
        sizes.append(end - first)
        return fetch(self, first, end)

    values: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        bucket(patch) as store,
    ):
        patch.setattr(StoredFile, "_fetched", counted)
        path = Path(folder) / "hour.mp4"
        write_hour(clip, path)
        places = {"store": store.put(path, "hour.mp4"), "disk": str(path)}
        footage: dict[str, Footage] = {}
        for name, source in places.items():
            sizes.clear()
            begin = time.perf_counter()
            footage[name] = open_footage([source])
            values[f"index_s_{name}"] = time.perf_counter() - begin
            values[f"index_bytes_{name}"] = sum(sizes) if name == "store" else path.stat().st_size
        for name in places:
            begin = time.perf_counter()
            count = sum(1 for _ in read_pictures(footage[name], FIRST, LAST))
            values[f"frames_a_second_{name}"] = count / (time.perf_counter() - begin)
    ratios = {
        "index_bytes_vs_file": values["index_bytes_store"] / values["index_bytes_disk"],
        "index_time_vs_disk": values["index_s_store"] / values["index_s_disk"],
        "frames_vs_disk": values["frames_a_second_store"] / values["frames_a_second_disk"],
    }
    for name, value in (values | ratios).items():
        print(f"{name:28} {value:14.4g}")
    if options.json:
        print(json.dumps(values | {"ratios": ratios}))


if __name__ == "__main__":
    main()
