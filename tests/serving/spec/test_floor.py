"""What a job says of a camera's floor: a homography, or points of which it is made; what cannot be one is a
line that says why.
"""

from typing import Any

import numpy as np
import pytest

from reid.data.synthetic.cameras import build_camera
from reid.data.synthetic.views import floor_of
from serving.spec import Camera
from serving.spec.floor import floor_matrix

PLACES = ((-1.0, 13.0), (2.0, 14.0), (1.0, 17.0), (-2.0, 16.0), (0.0, 15.0))


def metres(matrix: Any, point: tuple[float, float]) -> np.ndarray:
    x, y, w = np.asarray(matrix) @ [*point, 1.0]
    return np.array([x / w, y / w])


@pytest.mark.parametrize("origin", [(0.0, 0.0), (500_000.0, 5_800_000.0)], ids=["near", "as in maps"])
def test_points_give_the_floor_that_the_camera_has(origin: tuple[float, float]) -> None:
    camera = build_camera(7, 1, 480, 360)
    floor = floor_of(camera, "passage", 3)
    assert floor is not None
    for x, z in PLACES:
        # one of the places is 0, of which no error is a small share
        found = metres(floor_matrix(floor.tolist()), camera.foot(x, z)[:2])
        np.testing.assert_allclose(found, (x, z), atol=1e-12)
    pairs = [[list(camera.foot(x, z)[:2]), [x + origin[0], z + origin[1]]] for x, z in PLACES]
    for given in (pairs[:4], pairs):
        found = floor_matrix(given)
        np.testing.assert_allclose(metres(found, camera.foot(0.5, 14.5)[:2]) - origin, (0.5, 14.5), atol=1e-5)


SQUARE = [[[0, 0], [0, 0]], [[100, 0], [4, 0]], [[100, 100], [4, 4]], [[0, 100], [0, 4]]]


@pytest.mark.parametrize(
    ("floor", "said"),
    [
        ([[1, 2], [3, 4]], "want three rows of three numbers"),
        ("flat", "want three rows of three numbers"),
        (SQUARE[:3], "at least four pairs"),
        ([[1, 0, 0], [2, 0, 0], [0, 0, 1]], "the homography is degenerate"),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], "the homography is degenerate"),
        ([[0, 0, 0]] * 3, "the homography is degenerate"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, float("nan")]], "not finite"),
        ([[1, 0, 0], [0, 1e300, 0], [0, 0, 1]], "too large"),
        ([*SQUARE[:2], [[200, 0], [8, 0]], [[0, 100], [0, 4]]], "no three lie on a line"),
        ([*SQUARE[:3], [[0, 100], [4, 0]]], "no three lie on a line"),
        ([*SQUARE, [[50, 50], [3.5, 2]]], "m from where the others put it"),
        # two corners changed over
        ([[[0, 0], [4, 0]], [[100, 0], [0, 0]], *SQUARE[2:]], "horizon"),
    ],
)
def test_what_is_no_floor_is_said(floor: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        floor_matrix(floor)
    with pytest.raises(ValueError, match=said):
        Camera(id="hall", source="hall.mp4", floor=floor)


def test_a_floor_says_nothing_about_what_is_seen() -> None:
    from serving.spec import Job

    def job(**more: Any) -> Job:
        return Job(cameras=(Camera(id="hall", source="hall.mp4", **more),), model="model")

    assert job(floor=SQUARE).seen_key() == job().seen_key()
    assert job(floor=SQUARE).key() != job().key()
    again = Job.model_validate(job(floor=SQUARE).model_dump(mode="json"))
    assert again.key() == job(floor=SQUARE).key()
