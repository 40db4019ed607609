"""Pictures: what they say in words and marks. How they look was looked at."""

import re

import numpy as np
import pytest
from PIL import Image
from scipy.cluster import hierarchy

from reid.card import Threshold
from reid.errors import ReidError, UsageError
from reid.evaluation import (
    detection_identification_rate,
    distances_between,
    draw_pairs,
    open_set_scores,
    pair_distances,
    rank_gallery,
    verify,
)
from reid.evaluation import plots as p
from reid.evaluation.examples import hardest_pairs, ranked_lists


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(10), 4)
    rows = rng.standard_normal((10, 8))[ids] + 0.8 * rng.standard_normal((40, 8))
    cams = np.tile([0, 0, 1, 1], 10)
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for number in range(40):
        paths.append(folder / f"{number}.png")
        Image.fromarray(rng.integers(0, 255, (30 + number, 20, 3), dtype=np.uint8)).save(paths[-1])
    query, gallery = cams == 0, cams == 1
    split = (rows[query], ids[query], cams[query], rows[gallery], ids[gallery], cams[gallery])
    pairs, same = draw_pairs(split[1], split[2], split[4], split[5])
    files = (
        [path for path, q in zip(paths, query, strict=True) if q],
        [path for path, q in zip(paths, query, strict=True) if not q],
    )
    return split, pairs, pair_distances(split[0], split[3], pairs), same, files


def charts(world):
    split, _, distances, same, _ = world
    rows, ids = np.vstack([split[0], split[3]]), np.append(split[1], split[4])
    curve = detection_identification_rate(open_set_scores(split[0], split[1], split[3], split[4]))
    threshold = Threshold(
        policy="min", unit="image", false_accept_rate=0.1, distance=2.5, low=2.25, high=2.75, probes=20
    )
    report = verify(distances, same, fars=(0.1,))
    return {
        "cmc": lambda path: p.plot_cmc({"a": rank_gallery(*split).cmc, "b": np.linspace(0.2, 1, 30)}, path),
        "roc": lambda path: p.plot_roc({"a": report}, path),
        "det": lambda path: p.plot_det({"a": report}, path),
        "distances": lambda path: p.plot_distance_histogram(distances, same, path, threshold=threshold),
        "identification": lambda path: p.plot_identification({"a": curve}, path),
        "embeddings": lambda path: p.plot_embeddings(rows, ids, path, people=5),
        "tree": lambda path: p.plot_class_tree(
            hierarchy.linkage(rows, "average"), path, thresholds=[1.0, 2.0]
        ),
    }


def test_charts_are_written_the_same_every_time_and_say_their_figures(world, tmp_path):
    split, _, distances, same, _ = world
    words = {}
    for name, draw in charts(world).items():
        words[name] = draw(tmp_path / f"{name}.svg")
        assert draw(tmp_path / f"{name}2.svg") == words[name]
        first, second = ((tmp_path / f"{name}{n}.svg").read_bytes() for n in ("", "2"))
        assert first == second
        assert first.startswith(b"<?xml")
    report = verify(distances, same, fars=(0.1,))
    text = {name: (tmp_path / f"{name}.svg").read_text() for name in words}
    assert f"a {100 * rank_gallery(*split).rank(1):.1f} %; b 20.0 %" in words["cmc"]
    assert f"EER {100 * report.eer:.1f} %" in text["roc"]
    assert f"EER {100 * report.eer:.1f} %" in text["det"]
    assert f"{100 * report.tar_at_far[0.1]:.1f} % true accepts at FAR 0.1" in words["det"]
    assert f"{report.genuine_pairs:,} genuine and {report.impostor_pairs:,} impostor pairs" in text["roc"]
    accepted = 100 * np.mean(distances[same] <= 2.5)
    assert f"accepts {accepted:.0f} % of the same-person pairs" in words["distances"]
    assert "threshold 2.50" in text["distances"]
    assert words["distances"] == p.plot_distance_histogram(
        distances, same, tmp_path / "plain.png", threshold=2.5
    )
    assert "20 unknown and 20 known probes, 10 people" in text["identification"]
    assert words["embeddings"] == "t-SNE map of 20 images of 5 people."
    assert "Class tree of 40 people" in text["tree"]


def test_png_by_suffix_and_nothing_half_written(world, tmp_path):
    draw = charts(world)["cmc"]
    draw(tmp_path / "cmc.png")
    with Image.open(tmp_path / "cmc.png") as image:
        assert image.size[0] >= 1000
    with pytest.raises(UsageError, match=r"suffix '\.jpg' is unknown"):
        draw(tmp_path / "cmc.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["cmc.png"]


def test_ranked_lists_tick_right_and_cross_wrong(world, tmp_path):
    split, _, _, _, files = world
    lists = ranked_lists(
        distances_between(split[0], split[3]), [0, 7], split[1], split[2], split[4], split[5], k=6
    )
    exact = np.linalg.norm(split[0][:, None] - split[3][None], axis=-1)
    for one, row in zip(lists, (0, 7), strict=True):
        assert one.gallery.tolist() == np.argsort(exact[row])[:6].tolist()
        assert one.right.tolist() == (split[4][one.gallery] == split[1][row]).tolist()
        np.testing.assert_allclose(one.distances, exact[row][one.gallery], rtol=1e-5)
    words = p.plot_ranked_lists([one.shown(*files) for one in lists], tmp_path / "lists.svg")
    text = (tmp_path / "lists.svg").read_text()
    right = sum(int(one.right.sum()) for one in lists)
    assert (len(re.findall("✓", text)), len(re.findall("✗", text))) == (right, 12 - right)
    assert f"{right} of all 12" in words
    p.plot_ranked_lists([(files[0][0], [(files[1][0], True), (files[1][1], False)])], tmp_path / "plain.svg")
    assert (tmp_path / "plain.svg").read_text().count("✓") == 1
    assert f"✓ {lists[0].distances[lists[0].right][0]:.2f}" in text


def test_ranked_lists_keep_the_protocol():
    found = ranked_lists(
        lambda rows: np.asarray([[0.1, 0.2, 0.3, 0.4]], np.float32),
        [0],
        ["a"],
        ["x"],
        ["a", "-1", "a", "b"],
        ["x", "y", "y", "x"],
    )
    assert found[0].gallery.tolist() == [2, 3]
    assert found[0].right.tolist() == [True, False]
    with pytest.raises(ReidError, match="query row 3 does not exist"):
        ranked_lists(lambda rows: np.zeros((1, 1), np.float32), [3], ["a"], ["x"], ["a"], ["y"])


def test_hardest_pairs_are_the_worst_and_no_image_comes_twice(world, tmp_path):
    _, pairs, distances, same, files = world
    hard = hardest_pairs(pairs, distances, same, count=3)
    assert hard.genuine_distances[0] == distances[same].max()
    assert hard.impostor_distances[0] == distances[~same].min()
    for chosen, values, sign in (
        (hard.genuine, hard.genuine_distances, -1),
        (hard.impostors, hard.impostor_distances, 1),
    ):
        assert len(set(chosen[:, 0])) == len(set(chosen[:, 1])) == 3
        assert np.all(np.diff(values) * sign >= 0)
    words = p.plot_hardest_pairs(hard, *files, tmp_path / "hard.svg")
    assert f"up to {distances[same].max():.2f}" in words
    assert f"{distances[~same].min():.2f}" in (tmp_path / "hard.svg").read_text()


def test_activation_maps_lie_on_their_images(tmp_path):
    images = [np.full((40, 20, 3), 255, np.uint8)] * 2
    maps = [np.asarray([[1.0, 1.0], [0.0, 0.0]], np.float32), np.zeros((4, 2), np.float32)]
    assert p.plot_activation_maps(images, maps, tmp_path / "maps.png") == "Activation maps of 2 images."
    with Image.open(tmp_path / "maps.png") as image:
        shades = np.asarray(image.convert("L"), dtype=float)
    middle = shades.shape[1] // 4
    column = shades[:, int(1.5 * middle)]
    # The upper half is active and light, the lower half dark.
    assert column[len(column) // 4] > column[3 * len(column) // 4] + 50
    with pytest.raises(ReidError, match="2 images and 1 activation maps"):
        p.plot_activation_maps(images, maps[:1], tmp_path / "maps.png")
    with pytest.raises(ReidError, match="activation map 0"):
        p.plot_activation_maps(images[:1], [np.full((2, 2), np.nan, np.float32)], tmp_path / "maps.png")


def test_bad_input_is_named(world, tmp_path):
    _, pairs, distances, same, files = world
    path = tmp_path / "x.png"
    for draw in (p.plot_cmc, p.plot_roc, p.plot_det, p.plot_identification):
        with pytest.raises(ReidError, match="to draw: give at least one"):
            draw({}, path)
    with pytest.raises(ReidError, match="of one kind only"):
        p.plot_distance_histogram([1.0, 2.0], [True, True], path)
    with pytest.raises(ReidError, match="3 images are too few"):
        p.plot_embeddings(np.eye(3), [1, 1, 1], path)
    with pytest.raises(ReidError, match="class tree linkage"):
        p.plot_class_tree(np.zeros((0, 4)), path)
    with pytest.raises(ReidError, match="no ranked list"):
        p.plot_ranked_lists([], path)
    gone = [tmp_path / "gone.png"] * 20
    with pytest.raises(ReidError, match=r"gone\.png cannot be read"):
        p.plot_hardest_pairs(hardest_pairs(pairs, distances, same, count=1), gone, files[1], path)
    assert not list(tmp_path.iterdir())
