"""The synthetic town: the same seed gives the same bytes, and the truth is true."""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.data.synthetic import TownSpec, attribute_names, generate_town, sample_person
from reid.data.synthetic.cameras import build_camera
from reid.data.synthetic.crops import place, render_crop
from reid.data.synthetic.footage import plan_visits, render_footage
from reid.errors import UsageError

SMALL = TownSpec(
    people=6, cameras=2, images_per_camera=2, footage_seconds=7.0, footage_fps=5, footage_people=3
)
TEST_PEOPLE = (2, 3, 4, 6)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    out = tmp_path_factory.mktemp("town") / "data"
    generate_town(SMALL, out, TEST_PEOPLE)
    return out


def read_truth(path: Path) -> dict[int, dict[int, tuple[int, ...]]]:
    truth: dict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        frame, identity, *box = (int(v) for v in line.split(",")[:6])
        assert line.split(",")[6:] == ["1", "-1", "-1", "-1"]
        assert identity not in truth[frame]
        truth[frame][identity] = tuple(box)
    return truth


def read_frames(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = capture.read()
        if not ok:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TestTown:
    def test_files_are_named_and_counted_as_promised(self, town):
        expected = {f"{i:04d}_c{c}_{n:03d}.jpg" for i in range(1, 7) for c in (1, 2) for n in range(2)}
        assert {path.name for path in (town / "crops").iterdir()} == expected
        assert {path.name for path in (town / "footage").iterdir()} == {
            f"camera{c}.{kind}" for c in (1, 2) for kind in ("webm", "txt")
        }
        assert {path.name for path in town.iterdir()} == {"crops", "footage", "town.json"}
        for path in (town / "crops").iterdir():
            assert cv2.imread(str(path)).shape == (128, 64, 3)

    def test_same_seed_same_bytes(self, town, tmp_path):
        generate_town(SMALL, tmp_path / "again", reversed(TEST_PEOPLE))
        assert files_of(tmp_path / "again") == files_of(town)

    def test_another_seed_changes_every_image(self):
        other = replace(SMALL, seed=8)
        for identity in range(1, 7):
            for camera in (1, 2):
                assert (
                    render_crop(SMALL, identity, camera, 0) != render_crop(other, identity, camera, 0)
                ).mean() > 0.5
        for camera in (1, 2):
            before, after = (next(render_footage(spec, camera, (2, 3, 4)))[0] for spec in (SMALL, other))
            assert (before != after).mean() > 0.5

    def test_no_crop_is_given_twice(self, town):
        contents = [path.read_bytes() for path in (town / "crops").iterdir()]
        assert len(set(contents)) == len(contents)

    def test_town_json_tells_spec_people_and_clocks(self, town):
        facts = json.loads((town / "town.json").read_text())
        assert TownSpec(**facts["spec"]) == SMALL
        assert set(facts["footage_identities"]) < set(TEST_PEOPLE) and len(facts["footage_identities"]) == 3
        assert facts["attributes"] == list(attribute_names())
        assert sorted(facts["people"]) == [f"{i:04d}" for i in range(1, 7)]
        for name, entry in facts["people"].items():
            np.testing.assert_allclose(
                entry["vector"], sample_person(SMALL.seed, int(name)).as_vector(), atol=1e-4
            )
        assert (
            facts["camera_start"].keys() == {"1", "2"}
            and facts["camera_start"]["1"] < facts["camera_start"]["2"]
        )

    def test_progress_counts_images_and_frames(self, tmp_path):
        seen = []
        spec = replace(
            SMALL,
            people=2,
            footage_people=1,
            footage_fps=2,
            images_per_camera=1,
            footage_width=160,
            footage_height=120,
        )
        generate_town(spec, tmp_path / "t", [1, 2], lambda done, total: seen.append((done, total)))
        assert seen == [(i, 2 * (2 + 14)) for i in range(1, 33)]

    def test_replaces_an_earlier_town_and_leaves_other_files(self, tmp_path):
        spec = replace(
            SMALL,
            people=3,
            footage_people=1,
            footage_fps=2,
            images_per_camera=1,
            footage_width=160,
            footage_height=120,
        )
        (tmp_path / "catalog.parquet").write_text("mine")
        generate_town(spec, tmp_path, [1])
        generate_town(replace(spec, people=2), tmp_path, [1])
        assert len(list((tmp_path / "crops").iterdir())) == 4
        assert (tmp_path / "catalog.parquet").read_text() == "mine"

    def test_refuses_a_folder_with_other_images(self, tmp_path):
        (tmp_path / "crops").mkdir()
        (tmp_path / "crops" / "holiday.jpg").write_text("mine")
        with pytest.raises(UsageError, match=r"holiday\.jpg"):
            generate_town(SMALL, tmp_path, TEST_PEOPLE)
        assert (tmp_path / "crops" / "holiday.jpg").read_text() == "mine"

    @pytest.mark.parametrize(
        ("people", "complaint"), [((1, 2), "footage_people 3"), ((1, 2, 3, 7), "has 7"), ((0, 1, 2), "has 0")]
    )
    def test_refuses_wrong_test_people(self, tmp_path, people, complaint):
        with pytest.raises(UsageError, match=complaint):
            generate_town(SMALL, tmp_path / "t", people)
        assert not (tmp_path / "t").exists()


class TestCrops:
    def test_depends_on_person_camera_and_number_alone(self):
        crop = render_crop(SMALL, 3, 1, 0)
        assert (
            crop
            == render_crop(
                replace(SMALL, people=50, cameras=5, images_per_camera=9, footage_seconds=30.0), 3, 1, 0
            )
        ).all()
        for other in ((3, 1, 1), (3, 2, 0), (4, 1, 0)):
            assert (crop != render_crop(SMALL, *other)).mean() > 0.5

    def test_neither_reads_nor_moves_the_global_generator(self):
        np.random.seed(1)  # noqa: NPY002
        before = render_crop(SMALL, 5, 2, 1)
        drawn = np.random.random()  # noqa: NPY002
        np.random.seed(1)  # noqa: NPY002
        assert drawn == np.random.random() and (before == render_crop(SMALL, 5, 2, 1)).all()  # noqa: NPY002

    def test_size_follows_the_spec(self):
        assert render_crop(replace(SMALL, image_height=96, image_width=40), 1, 1, 0).shape == (96, 40, 3)

    def test_cameras_differ_more_than_images_of_one_camera(self):
        means = np.array(
            [
                [
                    np.mean([render_crop(SMALL, i, c, n) for n in range(2)], axis=(0, 1, 2))
                    for i in range(1, 13)
                ]
                for c in (1, 2, 3)
            ]
        )
        between = np.linalg.norm(means.mean(1)[:, None] - means.mean(1)[None], axis=-1)[np.triu_indices(3, 1)]
        assert between.min() > 1.2 * means.std(axis=1).mean()


class TestFootage:
    def test_decodes_to_as_many_frames_as_were_drawn_and_looks_like_them(self, town):
        actors = json.loads((town / "town.json").read_text())["footage_identities"]
        for camera in (1, 2):
            path = town / "footage" / f"camera{camera}.webm"
            decoded = read_frames(path)
            assert len(decoded) == 35
            assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 5
            for index, (drawn, _) in enumerate(render_footage(SMALL, camera, actors)):
                if index % 8 == 7:
                    assert cv2.PSNR(drawn, decoded[index]) > 29
            assert path.stat().st_size < 35 * 6000

    def test_everybody_crosses_every_camera_for_three_seconds_at_other_times(self, town):
        actors = json.loads((town / "town.json").read_text())["footage_identities"]
        first_seen = []
        for camera in (1, 2):
            truth = read_truth(town / "footage" / f"camera{camera}.txt")
            frames = {
                identity: sorted(frame for frame in truth if identity in truth[frame]) for identity in actors
            }
            assert {identity for boxes in truth.values() for identity in boxes} == set(actors)
            for seen in frames.values():
                assert len(seen) >= 3 * SMALL.footage_fps
                assert seen == list(range(seen[0], seen[-1] + 1))
            assert 1 + SMALL.footage_fps < min(truth) and max(truth) <= 35
            first_seen.append([frames[identity][0] for identity in actors])
        assert first_seen[0] != first_seen[1]

    @pytest.mark.parametrize("camera_number", [1, 2])
    def test_boxes_fit_the_person_alone(self, camera_number):
        camera = build_camera(SMALL.seed, camera_number, SMALL.footage_width, SMALL.footage_height)
        visits, checked, clipped = plan_visits(SMALL, camera, TEST_PEOPLE[:3]), 0, 0
        for index, (_, boxes) in enumerate(render_footage(SMALL, camera_number, TEST_PEOPLE[:3])):
            seconds = index / SMALL.footage_fps
            for truth in boxes:
                assert truth.frame == index + 1
                visit = next(visit for visit in visits if visit.identity == truth.identity)
                alone = place(visit.person, visit.walk.at(seconds - visit.start), camera)
                mask = np.pad(np.zeros((camera.height, camera.width), bool), 400)
                left, top = alone.corner
                height, width = alone.figure.image.shape[:2]
                mask[400 + top : 400 + top + height, 400 + left : 400 + left + width] = (
                    alone.figure.image[..., 3] > 0.5
                )
                inside = mask[400:-400, 400:-400]
                x, y, w, h = truth.box
                assert x >= 0 and y >= 0 and x + w <= camera.width and y + h <= camera.height
                assert inside[y : y + h, x : x + w].sum() == inside.sum() > 0.3 * mask.sum()
                assert (
                    inside[y].any()
                    and inside[y + h - 1].any()
                    and inside[:, x].any()
                    and inside[:, x + w - 1].any()
                )
                checked, clipped = checked + 1, clipped + (inside.sum() < mask.sum())
        assert checked > 45 and clipped > 0

    def test_people_stand_out_from_the_empty_beginning(self, town):
        for camera in (1, 2):
            frames = [
                frame.astype(np.int16) for frame in read_frames(town / "footage" / f"camera{camera}.webm")
            ]
            truth = read_truth(town / "footage" / f"camera{camera}.txt")
            background = np.median(frames[:5], axis=0)
            for frame in frames[:5]:
                assert np.abs(frame - background).mean() < 4
            shares = []
            for number in range(6, 36, 2):
                changed = np.abs(frames[number - 1] - background).max(axis=-1) > 25
                shares += [changed[y : y + h, x : x + w].mean() for x, y, w, h in truth[number].values()]
                for x, y, w, h in truth[number].values():
                    changed[max(y - 8, 0) : y + h + 12, max(x - 12, 0) : x + w + 12] = False
                assert changed.mean() < 0.02
            assert len(shares) > 15 and np.median(shares) > 0.25


class TestSpec:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("people", 1),
            ("people", 10_000),
            ("people", 3.0),
            ("cameras", 1),
            ("images_per_camera", 0),
            ("image_height", 8),
            ("image_width", 8),
            ("footage_seconds", 2.0),
            ("footage_seconds", float("nan")),
            ("footage_seconds", "12"),
            ("footage_fps", 1),
            ("footage_people", 0),
            ("footage_people", 121),
            ("footage_people", 30),
            ("footage_width", 100),
            ("footage_width", 481),
            ("footage_height", 119),
            ("seed", -1),
            ("seed", True),
        ],
    )
    def test_names_the_field(self, field, value):
        with pytest.raises(UsageError, match=field) as caught:
            TownSpec(**{field: value})
        assert "\n" not in str(caught.value)

    def test_shortest_footage_that_is_asked_for_is_accepted(self):
        with pytest.raises(UsageError, match=r"want 8\.0 or more"):
            TownSpec(footage_seconds=7.9)
        assert TownSpec(footage_seconds=8.1).footage_people == 8


def test_needs_no_torch():
    code = "import sys, reid.data.synthetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
