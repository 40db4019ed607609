"""Corruptions spoil more the higher the severity, the same way every time, and leave the original alone."""

import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from reid.evaluation import rank_gallery
from reid.evaluation.shift import CORRUPTIONS, SEVERITIES, corrupt, falls


def picture(height=96, width=40):
    """A person-like pattern with edges, texture and flat parts."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), (90, 120, 60), np.uint8)
    image[height // 6 : height // 2, width // 4 : -width // 4] = (200, 40, 40)
    image[height // 2 :, width // 3 : -width // 3] = (30, 30, 90)
    return np.clip(image + rng.integers(-25, 26, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_grows_and_seeds_repeat(name):
    images = np.stack([picture(), picture()[:, ::-1]])
    kept = images.copy()
    damage = []
    for severity in SEVERITIES:
        spoilt = corrupt(images, name, severity, seed=5)
        assert spoilt.dtype == np.uint8
        assert spoilt.shape == images.shape
        np.testing.assert_array_equal(spoilt, corrupt(images, name, severity, seed=5))
        np.testing.assert_array_equal(spoilt[0], corrupt(images[:1], name, severity, seed=5)[0])
        np.testing.assert_array_equal(spoilt[1:], corrupt(images[1:], name, severity, seed=5, first=1))
        damage.append(np.abs(spoilt.astype(float) - images).mean())
    assert damage[0] > 0.5
    assert np.all(np.diff(damage) > 0)
    np.testing.assert_array_equal(images, kept)


def test_occlusion_covers_its_share_and_the_seed_moves_it():
    image = picture(200, 100)[None]
    first, second = corrupt(image, "occlusion", 3, seed=1), corrupt(image, "occlusion", 3, seed=2)
    assert np.mean((first == 128).all(axis=-1)) == pytest.approx(0.3, abs=0.01)
    assert not np.array_equal(first, second)


def test_falls_are_clean_less_shifted():
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(20), 3)
    rows = rng.standard_normal((20, 8))[ids]

    def ranked(noise, count=60):
        query = rows + noise * rng.standard_normal(rows.shape)
        return rank_gallery(
            query[:count], ids[:count], [0] * count, rows + rng.standard_normal(rows.shape), ids, [1] * 60
        )

    clean, worse = ranked(0.3), ranked(2.0)
    found = falls(clean, {"blur": worse}, ("mean_ap", "rank5"))
    assert found["blur"]["mean_ap"].fall == pytest.approx(clean.mean_ap - worse.mean_ap)
    assert found["blur"]["rank5"].shifted == pytest.approx(worse.rank(5))
    assert found["blur"]["mean_ap"].fall > 0
    with pytest.raises(ReidError, match="shift dark judges 30 queries and the clean run 60"):
        falls(clean, {"dark": ranked(1.0, 30)})


def test_bad_input_is_named():
    with pytest.raises(UsageError, match="corruption 'fog' is unknown"):
        corrupt(picture()[None], "fog", 1)
    with pytest.raises(UsageError, match="severity 6"):
        corrupt(picture()[None], "blur", 6)
    with pytest.raises(ReidError, match="want \\(N, H, W, 3\\) uint8"):
        corrupt(picture(), "blur", 1)
    with pytest.raises(ReidError, match="type float32"):
        corrupt(picture()[None].astype(np.float32), "blur", 1)
