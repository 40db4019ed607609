"""Raw data kept by DVC, as docs/data.md tells: a clone elsewhere gets them from the remote and makes the very
same catalog.
"""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import yaml

from reid.data.catalog import read_catalog
from tests.pipelines.projects import project, run

OUTPUTS = ("catalog.parquet", "problems.json", "summary.json", "data_report.html")


def market(root: Path) -> None:
    """Market-1501's folders with a few people, one image of them broken."""
    rng = np.random.default_rng(0)
    for folder, people in (
        ("bounding_box_train", range(2, 8)),
        ("query", range(10, 13)),
        ("bounding_box_test", range(10, 13)),
    ):
        (root / folder).mkdir(parents=True)
        for person in people:
            for camera in (1, 2) if folder != "query" else (1,):
                coarse = rng.integers(0, 255, (8, 4, 3), np.uint8)
                picture = cv2.resize(coarse, (64, 128), interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(root / folder / f"{person:04d}_c{camera}s1_{person:06d}_00.jpg"), picture)
    (root / "bounding_box_train/0002_c1s1_000002_00.jpg").write_bytes(b"")


def dvc(folder: Path, *commands: str) -> None:
    """DVC's commands one after another in one process, which starts once."""
    code = (
        "import json, sys; from dvc.cli import main; sys.exit(max(main(words) for words in "
        "json.loads(sys.argv[1])))"
    )
    done = run("python", "-c", code, json.dumps([command.split() for command in commands]), cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]


def git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = run("git", "-c", "user.name=t", "-c", "user.email=t@t", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


def test_a_clone_pulls_the_raw_images_and_makes_the_same_catalog(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "elsewhere/two"
    one.mkdir()
    project(one, data={"source": "market1501", "root": "raw/market1501"})
    stages = yaml.safe_load((one / "dvc.yaml").read_text())
    stages["stages"]["prepare"]["deps"].append("raw/market1501")
    (one / "dvc.yaml").write_text(yaml.safe_dump(stages))
    market(one / "raw/market1501")
    dvc(
        one,
        f"remote add -q -d storage {tmp_path / 'storage'}",
        "add -q raw/market1501",
        "push -q raw/market1501.dvc",
        "repro -q prepare",
    )
    git(one, "add", "-A")
    git(one, "commit", "-qm", "data")
    assert "raw/market1501.dvc" in git(one, "ls-files").stdout and ".jpg" not in git(one, "ls-files").stdout

    git(tmp_path, "clone", "-q", str(one), str(two))
    shutil.rmtree(one)  # what the clone does, it does without the first one
    dvc(two, "pull -q raw/market1501.dvc", "repro -q prepare")
    # dvc.lock above all: the outputs' hashes are what they were
    assert git(two, "status", "--porcelain").stdout == ""
    lock = yaml.safe_load((two / "dvc.lock").read_text())["stages"]["prepare"]
    assert {Path(out["path"]).name for out in lock["outs"]} >= set(OUTPUTS)
    catalog = read_catalog(two / "data/catalog.parquet")
    assert len(catalog) == 20 and all(
        path.is_relative_to(two / "raw/market1501") and path.exists() for path in catalog.paths
    )
    assert json.loads((two / "data/summary.json").read_text())["data_hash"] == catalog.data_hash
