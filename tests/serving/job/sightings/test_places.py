"""Positions, times, and who is one person by them: tracks made by hand, the answers known."""

import numpy as np
import pytest

from serving.job.sightings.evidence import IMPOSSIBLE, Evidence
from serving.job.sightings.ground import Track, meeting_of, on_ground, passage_of, track_of
from serving.job.sightings.strangers import group_strangers
from serving.job.sightings.together import seen_together
from serving.job.sightings.travel import Way, fit_way, gaps_between, learn_ways, sure_pairs

# A camera 3 m high, focal length 1000 pixels, the horizon in row 100 of 1000 x 800 pixels.
FLOOR = np.array([[3.0, 0.0, -1500.0], [0.0, 0.0, 3000.0], [0.0, 1.0, -100.0]])
SIZE = (1000, 800)


def foot(x: float, z: float) -> tuple[float, float]:
    return 500 + 1000 * x / z, 100 + 3000 / z


def walk(start: tuple[float, float], speed: tuple[float, float], begin_s: float, seconds: float) -> Track:
    step = np.arange(round(begin_s / 0.5), round((begin_s + seconds) / 0.5))
    at = (step * 0.5 - begin_s)[:, None]
    return Track(step, np.asarray(start) + at * np.asarray(speed), np.full(len(step), 0.4))


def looks(*angles: float) -> np.ndarray:
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def seen(cameras: str, *tracks: Track, **more: object) -> Evidence:
    spans = np.array([[one.step[0] * 0.5, one.step[-1] * 0.5 + 0.5] for one in tracks])
    return Evidence(list(cameras), spans, tracks, **more)  # type: ignore[arg-type]


def test_feet_are_where_the_homography_puts_them_and_nothing_is_beyond_the_horizon() -> None:
    feet = np.array([foot(0, 10), foot(-2, 20), (500, 90), (500, 100)])
    xy, per_pixel = on_ground(FLOOR, feet, np.array([500.0, 800.0]))
    np.testing.assert_allclose(xy[:2], [(0, 10), (-2, 20)], atol=1e-9)
    assert np.isnan(xy[2:]).all() and np.isnan(per_pixel[2:]).all()
    # 10 m away a pixel down is z^2 / (focal mount) = 3.3 cm, and a pixel to the side z / focal = 1 cm.
    assert per_pixel[0] == pytest.approx(np.hypot(100 / 3000, 0.01))
    np.testing.assert_allclose(on_ground(-FLOOR, feet, np.array([500.0, 800.0]))[0], xy)


def test_a_track_lies_on_the_steps_of_the_clock_whenever_the_pictures_were_taken() -> None:
    def boxes(times: np.ndarray) -> np.ndarray:
        feet = np.array([foot(-2 + 1.2 * t, 10 + 0.2 * t) for t in times])
        return np.column_stack(
            [feet[:, 0] - 20, feet[:, 1] - 170, np.full(len(times), 40), np.full(len(times), 170)]
        )

    tracks = []
    for times in (np.arange(0.07, 4, 0.1), np.arange(0.0, 4, 0.34)):
        track = track_of(1000.0 + times, boxes(times), FLOOR, SIZE)
        assert track is not None
        inside = track.step[1:-1]
        expected = np.column_stack(
            [-2 + 1.2 * ((inside + 0.5) / 2 - 1000), 10 + 0.2 * ((inside + 0.5) / 2 - 1000)]
        )
        np.testing.assert_allclose(track.xy[1:-1], expected, atol=0.03)
        tracks.append(track)
    meeting = meeting_of(*tracks)
    assert meeting is not None and meeting.apart < 0.05 and meeting.drift < 0.05 and meeting.seconds > 2
    cut = boxes(np.arange(0, 2, 0.1))
    cut[:, 3] = SIZE[1] - cut[:, 1]  # the lower edge of the picture hides the feet
    assert track_of(np.arange(0, 2, 0.1), cut, FLOOR, SIZE) is None


def test_one_place_at_one_time_is_one_person_and_two_places_are_two() -> None:
    here, beside, far = (walk((x, 10), (1.2, 0), 0, 4) for x in (0.0, 0.3, 5.0))
    crossing = walk((4.8, 10), (-1.2, 0), 0, 4)
    rest = walk((-10, 5), (1, 1), 100, 20)  # so that the ground is larger than one walk
    evidence = seen("abbbc", here, beside, far, crossing, rest)
    assert evidence.between(0, 1) > 3
    assert evidence.between(0, 2) == IMPOSSIBLE and evidence.elsewhere(0, 2)
    assert evidence.between(0, 3) < -1  # the same place at one moment alone
    assert evidence.between(1, 2) == IMPOSSIBLE and not evidence.elsewhere(0, 1)
    assert evidence.between(0, 4) == 0.0  # later anybody may be anywhere


def test_nobody_is_faster_than_the_limit() -> None:
    left, soon, later = (
        walk((0, 10), (1.2, 0), 0, 4),
        walk((15, 10), (1.2, 0), 6, 4),
        walk((15, 10), (1.2, 0), 12, 4),
    )
    rest = walk((-20, -20), (2, 2), 100, 20)  # so that the ground is larger than one walk
    evidence = seen("abbc", left, soon, later, rest)
    way = passage_of(later, left)
    assert (way.metres, way.seconds) == pytest.approx((15 - 4.2, 8.5), abs=1e-6)
    assert way.missed == pytest.approx(10.8 - 8.5 * 1.2)
    assert evidence.between(0, 1) == IMPOSSIBLE
    assert evidence.between(0, 2) > 0.5  # she walked on as she did
    assert seen("abbc", left, soon, later, rest, max_speed=8.0).between(0, 1) > IMPOSSIBLE


def test_place_and_looks_together_join_what_cameras_see_at_once() -> None:
    """Two people cross; the second camera sees both, looks alone would change them."""
    one, two = walk((0, 10), (1.2, 0), 0, 5), walk((6, 10.5), (-1.2, 0), 0, 5)
    evidence = seen("aabb", one, two, one, two)
    embeddings = looks(0.0, 0.5, 0.4, 0.1)  # the first looks like the last
    assert seen_together(embeddings, evidence, 0.3, 10.0) == [[0, 2], [1, 3]]
    # Where they look like nobody there, no place makes one person of them.
    assert seen_together(looks(0.0, 0.5, 3.0, 2.9), evidence, 0.3, 50.0) == [[0], [1], [2], [3]]


def test_who_is_hidden_for_a_while_is_one_person_by_a_camera_that_sees_her_all_the_time() -> None:
    whole = walk((0, 10), (1.0, 0), 0, 10)
    first, second = (
        Track(whole.step[part], whole.xy[part], whole.error[part]) for part in (slice(7), slice(12, None))
    )
    elsewhere = walk((0, 16), (1.0, 0), 0, 10)
    evidence = seen("abbb", whole, first, second, elsewhere)
    assert seen_together(looks(0, 0.1, 0.1, 0.1), evidence, 0.3, 10.0) == [[0, 1, 2], [3]]


def test_only_sure_pairs_are_learned_from() -> None:
    a, b = looks(0.0, 1.0, 2.0), looks(0.05, 0.97, 1.03, 2.6)
    spans = np.array([[0, 5], [10, 15], [20, 25], [30, 35]], np.float64)
    i, j = sure_pairs(a, b, spans[:3], spans, 0.3)
    # The second has two that are as near, the third none within the distance.
    assert (i.tolist(), j.tolist()) == ([0], [0])
    assert sure_pairs(a, b, spans[:3], spans + 10_000, 0.3)[0].size == 0


def test_the_time_between_two_cameras_is_found_beside_wrong_joins() -> None:
    rng = np.random.default_rng(1)
    gaps = np.concatenate([rng.normal(12, 2, 30), rng.uniform(-60, 500, 12)])
    way = fit_way(gaps, 1 / 60)
    assert way.used and way.median_s == pytest.approx(12, abs=1)
    assert way.spread_s == pytest.approx(2, abs=0.8) and 0.6 < way.share < 0.8
    assert way.log_ratio(12) > 1.5 > 0 > way.log_ratio(60) and way.log_ratio(3600) == 0
    # In a crowd somebody else comes at the right time, too.
    assert way.log_ratio(12) > fit_way(gaps, 0.5).log_ratio(12)
    assert not fit_way(gaps[:4], 1 / 60).used
    assert not fit_way(rng.uniform(0, 500, 40), 1 / 60).used
    spans = np.array([[0, 5], [8, 9]], np.float64)
    assert gaps_between(spans[:1], spans[1:]) == gaps_between(spans[1:], spans[:1]) == 3


def test_learned_times_decide_between_two_who_look_alike() -> None:
    rng = np.random.default_rng(2)
    people, leave = np.linspace(0, 2.8, 15), np.arange(15) * 60.0
    cameras = ["a"] * 15 + ["b"] * 15
    spans = np.concatenate([np.column_stack([leave - 5, leave]), np.column_stack([leave + 20, leave + 25])])
    spans[15:] += rng.normal(0, 1, (15, 1))
    embeddings = looks(*people, *(people + 0.02))
    ways = learn_ways(embeddings, cameras, spans, 0.12)
    way = ways[frozenset("ab")]
    assert way.used and way.joins == 15 and way.median_s == pytest.approx(20, abs=1)
    # Somebody comes to b 20 s after the first of two left a, and looks a little more like the second.
    spans = np.array([[0, 5], [13, 18], [25, 30]], np.float64)
    alike = looks(0.0, 0.05, 0.035)
    order = [0, 1, 2]
    without, learned = Evidence(["a", "a", "b"], spans), Evidence(["a", "a", "b"], spans, ways=ways)
    assert group_strangers(alike[order], without, 0.04, 20.0) == [1, 2, 2]
    assert group_strangers(alike[order], learned, 0.04, 20.0) == [1, 2, 1]


def test_a_time_that_the_job_says_is_not_learned_over() -> None:
    way = Way(joins=20, median_s=5, spread_s=1, share=0.95, arrivals_per_s=0.01)
    spans = np.array([[0, 5], [10, 15]], np.float64)
    pair = frozenset("ab")
    assert Evidence(["a", "b"], spans, ways={pair: way}).between(0, 1) > 1
    assert Evidence(["a", "b"], spans, ways={pair: way}, least_s={pair: 2.0}).between(0, 1) == 0
    assert Evidence(["a", "b"], spans, ways={pair: way}, least_s={pair: 9.0}).between(0, 1) == IMPOSSIBLE
