"""``reid calibrate --footage``: a threshold from a video, with truth and without any label."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.model.footage_calibration import Seen, together
from reid.card import load_card
from reid.evaluation.calibration import scores_without_labels
from tests.serving.tiny_footage import Walk, write_truth, write_walks
from tests.serving.tiny_models import tiny_model

FRAMES = 120
# All three are in the picture for ten seconds; who is there afterwards meets nobody.
WALKS = [
    Walk("anna", (-12, 88), (3, 0), 5, 110),
    Walk("bert", (332, 165), (-3, 0), 8, 112),
    Walk("carl", (-12, 238), (3, 0), 6, 111),
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    write_truth(folder / "gt.txt", WALKS, FRAMES, {"anna": 1, "bert": 2, "carl": 3})
    write_walks(folder / "alone.avi", WALKS[:1], FRAMES)
    return write_walks(folder / "walks.avi", WALKS, FRAMES)


def at(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def seen(first: int, last: int, x: float, *degrees: float) -> Seen:
    frames = np.arange(first, last + 1)
    boxes = np.repeat(np.asarray([[x, 0, x + 20, 50]], np.float32), len(frames), axis=0)
    return Seen(frames, boxes, at(*degrees))


def test_only_who_is_there_at_the_same_time_and_apart_is_somebody_else() -> None:
    people = [
        seen(1, 20, 0, 0, 0),
        seen(10, 30, 100, 90, 90),
        seen(19, 30, 200, 40, 40),  # with the first in two frames alone
        seen(1, 20, 8, 3, 3),  # on the first: two boxes of one person
        seen(50, 60, 0, 1, 1),  # later: the first again, perhaps
    ]
    assert np.argwhere(np.triu(together(people))).tolist() == [[0, 1], [1, 2], [1, 3]]


def test_halves_meet_each_other_and_those_seen_together() -> None:
    people = [seen(1, 20, 0, 0, 2, 4, 6), seen(1, 20, 100, 90, 92, 94, 96), seen(40, 50, 0, 3, 3, 3, 3)]
    apart = together(people)
    crops = [one.embeddings for one in people]
    scores = scores_without_labels(crops, apart, "image")

    def chord(degrees: float) -> float:
        return float(2 * np.sin(np.radians(degrees) / 2))

    # Of the first: 0 and 2 ask 4 and 6, then the other way round; the third, whom nobody met, is left out.
    assert scores.genuine[:4] == pytest.approx([chord(d) for d in (4, 2, 2, 4)], abs=1e-3)
    assert scores.impostor[:4] == pytest.approx([chord(d) for d in (90, 88, 86, 84)], abs=1e-3)
    assert (scores.people, len(scores.impostor), scores.named_right.all()) == (2, 8, True)
    pooled = scores_without_labels(crops, apart, "tracklet")
    assert pooled.impostor == pytest.approx([chord(d) for d in (89, 85, 85, 89)], abs=1e-3)


def test_a_video_without_labels_gives_a_threshold_and_says_what_it_rests_on(
    video: Path, tmp_path: Path, reid: Callable[..., tuple[int, str, str]]
) -> None:
    model = tiny_model(tmp_path / "model")
    words = [model, "--footage", video, "--bootstrap", 20, "--backend", "onnxruntime"]
    code, said, stderr = reid("calibrate", *words)
    flat = stderr.replace("\n", " ")
    assert (code, "pictures of 3 tracklets" in said) == (0, True)
    assert "3 tracklets of" in flat and "3 pairs of them together in a frame" in flat
    assert "asked against 2.0 people on average" in flat and "this rests on one camera" in flat
    assert "people more are wanted: take longer footage" in flat
    without = load_card(model).thresholds
    assert {(one.policy, one.unit) for one in without} == {
        (policy, unit) for policy in ("min", "mean", "top_k") for unit in ("image", "tracklet")
    }
    code, said, stderr = reid("calibrate", *words, "--truth", video.with_name("gt.txt"))
    assert (code, "pictures of 3 people" in said) == (0, True)
    assert "this rests on one camera" in stderr.replace("\n", " ")
    labelled = load_card(model).threshold("min", "image")
    assert labelled is not None
    # People of plain stripes: both ways find that same and different lie far apart.
    (free,) = (one for one in without if (one.policy, one.unit) == ("min", "image"))
    assert abs(free.distance - labelled.distance) < 0.15


def test_of_truth_by_tracks_a_list_says_who_they_are(
    video: Path, tmp_path: Path, reid: Callable[..., tuple[int, str, str]]
) -> None:
    """Somebody who left and came back under another id is no stranger to himself."""
    model = tiny_model(tmp_path / "model")
    rows = [line.split(",") for line in video.with_name("gt.txt").read_text().splitlines()]
    for row in rows:
        if row[1] == "1" and int(row[0]) > 60:
            row[1] = "12"  # anna, a second time
    (tmp_path / "gt.txt").write_text("\n".join(",".join(row) for row in rows))
    (tmp_path / "people.txt").write_text("# who is who\n12,1\n")
    words = [model, "--footage", video, "--truth", tmp_path / "gt.txt", "--bootstrap", 20]
    words += ["--backend", "onnxruntime", "--false-accept-rate", 0.5]
    found = {}
    for more, people in (([], 4), (["--people", tmp_path / "people.txt"], 3)):
        code, said, _ = reid("calibrate", *words, *more)
        assert (code, f"pictures of {people} people" in said) == (0, True)
        threshold = load_card(model).threshold("min", "image")
        assert threshold is not None
        found[people] = threshold.distance
    # A person who is taken for two is as near to a "stranger" as to himself.
    assert found[4] < found[3]
    code, _, told = reid("calibrate", *words[:3], "--people", tmp_path / "people.txt")
    assert (code, "name the truth" in told) == (2, True)


def test_too_few_people_and_wrong_words_leave_the_card_alone(
    video: Path, tmp_path: Path, reid: Callable[..., tuple[int, str, str]]
) -> None:
    model = tiny_model(tmp_path / "model")
    before = (model / "model.json").read_bytes()
    code, _, stderr = reid("calibrate", model, "--footage", video.with_name("alone.avi"))
    assert (code, "shows 0 people together with others" in stderr.replace("\n", " ")) == (1, True)
    assert "some 20 for a rate of 0.05" in stderr.replace("\n", " ")
    for words in (
        ["--truth", video],
        ["--detector", "motion"],
        ["--footage", video, "--root", tmp_path, "--pattern", "x"],
    ):
        assert reid("calibrate", model, *words)[0] == 2
    assert (model / "model.json").read_bytes() == before
