from pathlib import Path

import cv2
import numpy as np

from reid.data.catalog import Record
from reid.data.checks import inspect, set_problems


def write(path: Path, value: int = 0, size: tuple[int, int] = (32, 16)) -> Path:
    noise = np.random.default_rng(value).integers(0, 255, (*size, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    return path


def test_every_broken_file_is_listed_and_counts_add_up(tmp_path: Path) -> None:
    good = write(tmp_path / "good.png", 1)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:40])
    write(tmp_path / "tiny.png", 2, (4, 4))
    (tmp_path / "twin.png").write_bytes(good.read_bytes())
    names = ("good.png", "empty.png", "text.png", "cut.png", "tiny.png", "missing.png", "twin.png")
    records = [Record(tmp_path / name, "a", "1", "query" if name == "twin.png" else "train") for name in names]
    seen: list[tuple[int, int]] = []
    rows, problems = inspect(records, tmp_path, lambda done, total: seen.append((done, total)))
    errors = {Path(p.what).name: p.kind for p in problems if p.level == "error"}
    assert [row["path"] for row in rows] == ["good.png", "twin.png"]
    assert (rows[0]["width"], rows[0]["height"]) == (16, 32)
    assert len(rows) + len(errors) == len(records)
    assert errors["empty.png"] == "zero-byte file"
    assert errors["text.png"] == errors["cut.png"] == "not an image"
    assert errors["tiny.png"].startswith("tiny image")
    assert errors["missing.png"].startswith("unreadable")
    assert [p.kind for p in problems if p.level == "warning"] == ["same picture in two splits"]
    assert seen[-1] == (7, 7)


def test_the_set_as_a_whole() -> None:
    def row(identity: str, camera: str, split: str) -> dict[str, object]:
        return {"identity": identity, "camera": camera, "split": split}

    rows = [row("a", "1", "train"), row("a", "1", "query"), row("b", "1", "train"), row("c", "1", "train"), row("c", "1", "train")]
    found = {(p.level, p.kind, p.what) for p in set_problems(rows)}
    assert ("error", "identity in training and test", "a") in found
    assert ("warning", "identity with one image", "b") in found
    assert ("warning", "identity with one camera", "c") in found
    assert ("error", "one camera", "the whole set") in found
    two = [row("a", camera, "train") for camera in "12"]
    assert set_problems(two) == []
