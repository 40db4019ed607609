"""A small job of two cameras with several segments each, for tests of who works through them and of what is
killed.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from serving.gallery import Gallery
from serving.runtime import load
from tests.serving.tiny_footage import Walk, person, write_walks
from tests.serving.tiny_models import tiny_model

FRAMES = 260
WALKS = [
    Walk("anna", (-12, 88), (3, 0), 8, 125),
    Walk("bert", (332, 165), (-3, 0), 20, 137),
    Walk("carl", (-12, 238), (3, 0), 60, 177),
    Walk("anna", (332, 120), (-3, 0), 140, 255),
]
SEGMENT_S = 5.0  # of 26 s: six segments a camera


def match_command(place: Path, out: Path, *options: str, job: str = "job.yaml") -> list[str]:
    """The command that does a job of a place in a process of its own."""
    words = [sys.executable, "-m", "pipelines.cli", "match", str(place / job), "--out", str(out)]
    return [*words, "--quiet", "--segment-s", str(SEGMENT_S), *options]


def make_place(folder: Path, cameras: int = 2) -> Path:
    """A model, a gallery, footage and ``job.yaml`` in a folder."""
    tiny_model(folder / "model")
    embedder = load(folder / "model")
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, create=True) as gallery:
        for name in ("anna", "bert"):
            gallery.enroll(name, embedder([np.ascontiguousarray(person(name)[:, :, ::-1])]))
    write_walks(folder / "one.avi", WALKS, FRAMES)
    write_walks(folder / "two.avi", WALKS[::2], FRAMES)
    job = {
        "cameras": [{"id": name, "source": f"{name}.avi"} for name in ("one", "two")[:cameras]],
        "model": "model",
        "gallery": "gallery.db",
        "threshold": 0.35,
        "threads": 1,
        "outputs": {"video": False, "crops": True, "report": False},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


def in_store(place: Path, sources: dict[str, str]) -> Path:
    """``stored.yaml``, the job of a place with other sources."""
    job = yaml.safe_load((place / "job.yaml").read_text())
    for camera in job["cameras"]:
        camera["source"] = sources[camera["id"]]
    (place / "stored.yaml").write_text(yaml.safe_dump(job))
    return place / "stored.yaml"


def same_rows(one: Path, other: Path) -> None:
    """Tables, those that `reid find` searches among them, and crops of two outputs are equal."""
    for name in ("sightings", "detections", "embeddings"):
        assert pq.read_table(one / f"{name}.parquet").equals(pq.read_table(other / f"{name}.parquet"))
    crops = [
        {path.name: path.read_bytes() for path in (folder / "crops").iterdir()} for folder in (one, other)
    ]
    assert crops[0] == crops[1]
