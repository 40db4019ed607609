from pathlib import Path

import cv2
import numpy as np

from reid.data.blur import HEAD_SHARE, blur_head, store_blurred
from reid.files import sha256_of


def detail(image: np.ndarray) -> float:
    """What differs between neighbours."""
    return float(np.abs(np.diff(image.astype(np.int16), axis=1)).mean())


def test_the_head_goes_and_the_rest_stays() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)
    blurred = blur_head(image)
    rows = round(HEAD_SHARE * 128)
    assert np.array_equal(blurred[rows:], image[rows:])
    assert detail(blurred[:rows]) < 0.05 * detail(image[:rows])
    assert abs(float(blurred[:rows].mean()) - float(image[:rows].mean())) < 5
    assert blur_head(np.zeros((8, 5, 3), np.uint8)).shape == (8, 5, 3)


def test_a_face_cannot_be_told_from_another() -> None:
    """Two faces of equal mean colour, eyes and mouth at other places, end closer together than 3 grey
    levels.
    """
    faces = []
    for shift in (0, 4):
        face = np.full((128, 64, 3), 180, np.uint8)
        for x, y in ((24 + shift, 12), (36 - shift, 12), (30, 18 - shift // 2)):
            cv2.circle(face, (x, y), 2, (40, 40, 40), -1)
        faces.append(face)
    one, two = (blur_head(face)[:25].astype(int) for face in faces)
    assert np.abs(faces[0][:25].astype(int) - faces[1][:25]).max() == 140
    assert np.abs(one - two).max() < 45
    assert np.abs(one - two).mean() < 3


def test_copies_replace_what_they_were_made_of(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    rows = []
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"crops/{number}.jpg"), np.full((40, 20, 3), 60 * number, np.uint8))
        rows.append({"path": f"crops/{number}.jpg", "identity": "a", "sha256": "old"})
    seen: list[tuple[int, int]] = []
    copies = store_blurred(rows, tmp_path, tmp_path / "crops", lambda *counts: seen.append(counts))
    assert seen[-1] == (3, 3)
    assert [row["path"] for row in copies] == [f"crops/000000{n}_{n}.png" for n in range(3)]
    assert {path.name for path in (tmp_path / "crops").iterdir()} == {f"000000{n}_{n}.png" for n in range(3)}
    for row in copies:
        assert row["identity"] == "a"
        assert row["sha256"] == sha256_of(tmp_path / str(row["path"]))
