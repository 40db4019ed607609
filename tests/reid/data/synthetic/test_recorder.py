"""Vignettes, rolling shutters and H.264 of rendered people."""

from dataclasses import replace

import numpy as np
import pytest

from reid.data.synthetic.wardrobe import WardrobeSpec, h264, render_people
from reid.data.synthetic.wardrobe.cameras import build_place
from reid.data.synthetic.wardrobe.h264 import through_h264
from reid.data.synthetic.wardrobe.recorder import Moment, Recorder, darken_edges, draw_moment, slant, smear
from reid.errors import ReidError

SPEC = WardrobeSpec(people=6, cameras=8, cameras_per_person=4, image_height=64, image_width=32)
PICTURES, _, CAMERAS = render_people(SPEC)
LENS = Recorder(reach=1.0, fall_off=1.0, readout_s=0.03, exposure_s=0.01, turning=1.0, quantiser=None)
NOW = Moment(across=0.0, down=0.0, walking=0.0, panning=0.0, corner=(0, 0))


def darkened(moment: Moment, distance: float, lens: Recorder = LENS) -> np.ndarray:
    image = np.full((64, 32, 3), 100, np.float32)
    darken_edges(image, lens, moment, distance)
    return image[..., 0]


def test_light_falls_off_with_the_fourth_power_of_the_cosine_from_the_middle_of_the_frame() -> None:
    """Of what the display shows of it, the power 1 / 2.2."""
    assert darkened(NOW, 100.0) == pytest.approx(100, rel=1e-3)
    # Far away, in the frame's right lower corner: one focal length across and 9/16 down.
    cosine = 1 / np.sqrt(1 + 1**2 + (9 / 16) ** 2)
    corner = darkened(replace(NOW, across=1.0, down=1.0), 200.0)
    assert corner == pytest.approx(100 * cosine ** (4 / 2.2), rel=0.02)
    near = darkened(replace(NOW, across=1.0), 2.0)
    assert np.all(np.diff(near, axis=1) < 0)
    assert near[32] == pytest.approx(darkened(replace(NOW, across=-1.0), 2.0)[32, ::-1], rel=1e-4)
    half = darkened(replace(NOW, across=1.0), 200.0, replace(LENS, fall_off=0.5))
    assert half == pytest.approx(100 * np.sqrt(darkened(replace(NOW, across=1.0), 200.0) / 100), rel=1e-3)


def test_an_upright_line_that_moves_is_slanted_by_what_it_moves_between_its_first_row_and_its_last() -> None:
    image = np.zeros((64, 65, 3), np.float32)
    image[:, 32] = 255
    # At this distance a body height is a quarter of the frame's rows.
    distance = 4 / (2 * 9 / 16)
    slanted = slant(image, LENS, 12.0, distance)[..., 0]
    places = (slanted * np.arange(65)).sum(1) / slanted.sum(1)
    moved = 12.0 * 0.03 / 4 * 64
    assert places[-1] - places[0] == pytest.approx(moved, rel=0.05)
    assert places[32] == pytest.approx(32, abs=0.2)
    back = slant(image, LENS, -12.0, distance)[..., 0]
    assert (back * np.arange(65)).sum(1)[-1] < (back * np.arange(65)).sum(1)[0]
    assert slant(image, LENS, 0.0, distance) is image


def test_rows_are_smeared_along_themselves_alone() -> None:
    image = np.zeros((64, 65, 3), np.float32)
    image[:32, 32] = 255
    smeared = smear(image, LENS, 10.0)[..., 0]
    assert np.count_nonzero(smeared[0]) == 7  # 0.01 s of 10 body heights of 64 pixels, the nearest odd number
    assert not smeared[32:].any()
    assert smear(image, LENS, 0.1) is image


def test_a_coarser_quantiser_loses_more_and_a_fine_one_almost_nothing() -> None:
    def lost(quantiser: int) -> float:
        coded = [through_h264(one, quantiser, (3, 5), (64, 32)) for one in PICTURES[:8]]
        return float(np.abs(np.stack(coded).astype(int) - PICTURES[:8]).mean())

    grey = np.full((64, 32, 3), 120, np.uint8)
    assert np.abs(through_h264(grey, 30, (0, 0), (64, 32)).astype(int) - 120).max() <= 2
    fine, middle, coarse = lost(10), lost(30), lost(43)
    assert middle > 1.2 * fine and coarse > 1.5 * middle


def test_blocks_lie_where_the_crop_is_in_its_frame() -> None:
    one = PICTURES[0]
    assert not np.array_equal(
        through_h264(one, 43, (0, 0), (64, 32)), through_h264(one, 43, (7, 2), (64, 32))
    )
    assert through_h264(one[:41, :23], 30, (15, 15), (64, 32)).shape == (41, 23, 3)


def test_a_coded_picture_does_not_depend_on_those_before_it() -> None:
    first = [through_h264(one, 36, (1, 2), (64, 32)) for one in PICTURES]
    again = [through_h264(one, 36, (1, 2), (64, 32)) for one in PICTURES[::-1]][::-1]
    h264._coder.cache_clear()
    alone = through_h264(PICTURES[7], 36, (1, 2), (64, 32))
    np.testing.assert_array_equal(np.stack(first), np.stack(again))
    np.testing.assert_array_equal(alone, first[7])


def test_without_the_encoder_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "_ENCODER", "libx264_of_nobody")
    h264._coder.cache_clear()
    with pytest.raises(ReidError, match=r"PyAV here has no libx264.*or set h264 to 0"):
        through_h264(PICTURES[0], 30, (0, 0), (64, 32))


def test_a_share_of_the_cameras_codes_and_all_others_are_as_before() -> None:
    some = replace(SPEC, h264=0.8)
    codes = np.array([build_place(some, camera).recorder.quantiser is not None for camera in range(8)])
    assert 0 < codes.sum() < 8
    coded, _, _ = render_people(some)
    same = np.array([np.array_equal(one, other) for one, other in zip(coded, PICTURES, strict=True)])
    np.testing.assert_array_equal(same, ~codes[CAMERAS])


def test_moments_are_within_the_frame_and_its_blocks() -> None:
    moments = [draw_moment(np.random.default_rng(seed)) for seed in range(200)]
    assert all(-1 <= one.across <= 1 and -1 <= one.down <= 1 for one in moments)
    assert {side for one in moments for side in one.corner} == set(range(16))
