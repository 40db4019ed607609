"""The synthetic town: the same seed gives the same bytes, and the truth is true."""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.data.synthetic import Appearance, TownSpec, attribute_names, contact_sheet, generate_town, look_alike_of, sample_person
from reid.data.synthetic.body import draw_person
from reid.data.synthetic.cameras import build_camera, respond
from reid.data.synthetic.crops import place, render_crop
from reid.data.synthetic.footage import plan_visits, render_footage
from reid.data.synthetic.scene import build_scene, compose
from reid.data.synthetic.seeds import generator
from reid.data.synthetic.skeleton import Pose
from reid.data.synthetic.surface import Light
from reid.errors import UsageError

SMALL = TownSpec(people=6, cameras=2, images_per_camera=2, footage_seconds=7.0, footage_fps=5, footage_people=3)
TEST_PEOPLE = (2, 3, 4, 6)
LIGHT = Light(0.5, 0.3)


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
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class TestTown:
    def test_files_are_named_and_counted_as_promised(self, town):
        expected = {f"{i:04d}_c{c}_{n:03d}.jpg" for i in range(1, 7) for c in (1, 2) for n in range(2)}
        assert {path.name for path in (town / "crops").iterdir()} == expected
        assert {path.name for path in (town / "footage").iterdir()} == {f"camera{c}.{kind}" for c in (1, 2) for kind in ("webm", "txt")}
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
                assert (render_crop(SMALL, identity, camera, 0) != render_crop(other, identity, camera, 0)).mean() > 0.5
        for camera in (1, 2):
            before, after = (next(render_footage(spec, camera, (2, 3, 4)))[0] for spec in (SMALL, other))
            assert (before != after).mean() > 0.5

    def test_no_crop_is_given_twice(self, town):
        contents = [path.read_bytes() for path in (town / "crops").iterdir()]
        assert len(set(contents)) == len(contents)

    def test_town_json_tells_spec_people_and_clocks(self, town):
        told = json.loads((town / "town.json").read_text())
        assert TownSpec(**told["spec"]) == SMALL
        assert set(told["footage_identities"]) < set(TEST_PEOPLE) and len(told["footage_identities"]) == 3
        assert told["attributes"] == list(attribute_names())
        assert sorted(told["people"]) == [f"{i:04d}" for i in range(1, 7)]
        for name, entry in told["people"].items():
            np.testing.assert_allclose(entry["vector"], sample_person(SMALL.seed, int(name)).as_vector(), atol=1e-4)
        assert told["camera_start"].keys() == {"1", "2"} and told["camera_start"]["1"] < told["camera_start"]["2"]

    def test_progress_counts_images_and_frames(self, tmp_path):
        seen = []
        spec = replace(SMALL, people=2, footage_people=1, footage_fps=2, images_per_camera=1, footage_width=160, footage_height=120)
        generate_town(spec, tmp_path / "t", [1, 2], lambda done, total: seen.append((done, total)))
        assert seen == [(i, 2 * (2 + 14)) for i in range(1, 33)]

    def test_replaces_an_earlier_town_and_leaves_other_files(self, tmp_path):
        spec = replace(SMALL, people=3, footage_people=1, footage_fps=2, images_per_camera=1, footage_width=160, footage_height=120)
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

    @pytest.mark.parametrize(("people", "complaint"), [((1, 2), "footage_people 3"), ((1, 2, 3, 7), "has 7"), ((0, 1, 2), "has 0")])
    def test_refuses_wrong_test_people(self, tmp_path, people, complaint):
        with pytest.raises(UsageError, match=complaint):
            generate_town(SMALL, tmp_path / "t", people)
        assert not (tmp_path / "t").exists()


class TestCrops:
    def test_depends_on_person_camera_and_number_alone(self):
        crop = render_crop(SMALL, 3, 1, 0)
        assert (crop == render_crop(replace(SMALL, people=50, cameras=5, images_per_camera=9, footage_seconds=30.0), 3, 1, 0)).all()
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
            [[np.mean([render_crop(SMALL, i, c, n) for n in range(2)], axis=(0, 1, 2)) for i in range(1, 13)] for c in (1, 2, 3)]
        )
        between = np.linalg.norm(means.mean(1)[:, None] - means.mean(1)[None], axis=-1)[np.triu_indices(3, 1)]
        assert between.min() > 1.2 * means.std(axis=1).mean()

    def test_contact_sheet_has_a_row_a_person(self, tmp_path):
        contact_sheet(SMALL, [1, 2, 5], tmp_path / "a.png")
        contact_sheet(SMALL, [1, 2, 5], tmp_path / "b.png")
        assert cv2.imread(str(tmp_path / "a.png")).shape == (3 * 132, 2 * 2 * 68 + 8, 3)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


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
            frames = {identity: sorted(frame for frame in truth if identity in truth[frame]) for identity in actors}
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
                mask[400 + top : 400 + top + height, 400 + left : 400 + left + width] = alone.figure.image[..., 3] > 0.5
                inside = mask[400:-400, 400:-400]
                x, y, w, h = truth.box
                assert x >= 0 and y >= 0 and x + w <= camera.width and y + h <= camera.height
                assert inside[y : y + h, x : x + w].sum() == inside.sum() > 0.3 * mask.sum()
                assert inside[y].any() and inside[y + h - 1].any() and inside[:, x].any() and inside[:, x + w - 1].any()
                checked, clipped = checked + 1, clipped + (inside.sum() < mask.sum())
        assert checked > 45 and clipped > 0

    def test_people_stand_out_from_the_empty_beginning(self, town):
        for camera in (1, 2):
            frames = [frame.astype(np.int16) for frame in read_frames(town / "footage" / f"camera{camera}.webm")]
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


class TestBody:
    def pixels_of(self, person: Appearance, colour: tuple[float, float, float], yaw: float) -> int:
        image = draw_person(person, Pose(np.radians(yaw), 1.0, 0.3), 160, 0.1, Light(0.0, 0.0)).image
        return int(((np.abs(image[..., :3] - colour).max(axis=-1) < 0.12) & (image[..., 3] > 0.9)).sum())

    def person(self, **changes) -> Appearance:
        plain = {"pattern": "plain", "upper": (0.5, 0.5, 0.5), "opening": 0.0, "hair_length": 0.2, "hair_tied": False, "hat": "none"}
        return replace(sample_person(1, 1), **(plain | {"bag": "none", "hood": False, "hem": 0.0, "hair": (0.1, 0.1, 0.1)} | changes))

    def test_a_backpack_is_seen_from_behind(self):
        person = self.person(bag="backpack", bag_colour=(0.0, 1.0, 0.0))
        front, side, back = (self.pixels_of(person, (0.0, 1.0, 0.0), yaw) for yaw in (0, 90, 180))
        assert back > 2 * side > 4 * front or (back > side > 3 * front)
        assert back > 5 * front

    def test_a_logo_is_seen_from_the_front(self):
        person = self.person(pattern="logo", upper_second=(1.0, 0.0, 1.0), pattern_scale=1.0)
        assert self.pixels_of(person, (1.0, 0.0, 1.0), 0) > 60
        assert self.pixels_of(person, (1.0, 0.0, 1.0), 180) == 0

    def test_hair_covers_the_back_of_the_head(self):
        person = self.person(hair=(0.0, 0.0, 1.0), hair_length=0.6)
        assert self.pixels_of(person, (0.0, 0.0, 1.0), 180) > 2 * self.pixels_of(person, (0.0, 0.0, 1.0), 0) > 0

    def test_turning_mirrors_a_symmetrical_person(self):
        person = self.person()
        left, right = (draw_person(person, Pose(yaw, 0.0, 0.0), 150, 0.0, Light(0.0, 0.3)) for yaw in (-1.2, 1.2))
        assert abs(left.box[2] - right.box[2]) <= 1 and abs(left.box[3] - right.box[3]) <= 1

    def test_a_stride_is_wide_from_the_side_and_not_from_the_front(self):
        person = self.person(lower_kind="trousers")
        side = [draw_person(person, Pose(np.pi / 2, phase, 0.45), 150, 0.1, LIGHT).box[2] for phase in np.linspace(0, np.pi, 7)]
        front = [draw_person(person, Pose(0.0, phase, 0.45), 150, 0.1, LIGHT).box[2] for phase in np.linspace(0, np.pi, 7)]
        assert max(side) - min(side) > 25 > 8 > max(front) - min(front)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 500), st.floats(-7, 7), st.floats(0, 7), st.floats(0, 0.5), st.floats(40, 260))
    def test_whole_inside_its_image_and_as_tall_as_asked(self, identity, yaw, phase, swing, height):
        figure = draw_person(sample_person(3, identity), Pose(yaw, phase, swing), height, 0.15, LIGHT)
        alpha = figure.image[..., 3]
        assert figure.image.min() >= 0 and figure.image.max() <= 1.001
        assert not alpha[0].any() and not alpha[-1].any() and not alpha[:, 0].any() and not alpha[:, -1].any()
        assert 0.86 * height < figure.box[3] < 1.1 * height
        x, y, w, h = figure.box
        assert abs(figure.foot[1] - (y + h)) < 0.12 * height and x < figure.foot[0] < x + w

    def test_nearer_people_hide_those_behind(self):
        camera = build_camera(1, 1, 480, 360)
        scene = build_scene(camera)
        near, far = camera.focal / camera.near, camera.focal / camera.far
        walk = plan_visits(SMALL, camera, (1,))[0].walk.at(2.0)
        red, blue = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
        people = [
            place(self.person(upper=colour, sleeve=1.0), replace(walk, x=-2.0, z=z), camera) for colour, z in ((red, near), (blue, far))
        ]
        both = compose(scene, people, (0, 0, 480, 360))
        alone = compose(scene, people[:1], (0, 0, 480, 360))
        core = np.zeros((360, 480), bool)
        left, top = people[0].corner
        solid = people[0].figure.image[..., 3] == 1.0
        core[top : top + solid.shape[0], left : left + solid.shape[1]] = solid[: 360 - top]
        assert core.sum() > 500 and (both[core] == alone[core]).all() and (both != alone).any()
        assert (compose(scene, people[::-1], (0, 0, 480, 360)) == both).all()


class TestCameras:
    def test_the_response_is_the_camera_s_own_and_repeatable(self):
        image = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
        cameras = [build_camera(1, number, 480, 360) for number in (1, 2, 3, 4, 5)]
        seen = [respond(image, camera, generator(1, "test")) for camera in cameras]
        assert (seen[0] == respond(image, cameras[0], generator(1, "test"))).all()
        means = np.array([one.mean(axis=(0, 1)) for one in seen])
        assert all(np.abs(means[i] - means[j]).max() > 2 for i in range(5) for j in range(i))

    def test_people_are_as_tall_as_the_spec_says(self):
        for number in (1, 2, 3):
            camera = build_camera(5, number, 480, 360)
            assert 1.52 * camera.far > 0.24 * 360 and 1.94 * camera.near < 0.47 * 360
            assert camera.horizon < camera.foot(0.0, camera.focal / camera.far)[1] < camera.foot(0.0, camera.focal / camera.near)[1] < 360


class TestPeople:
    @given(st.integers(0, 10_000), st.integers(1, 9999))
    def test_vectors_are_named_and_between_0_and_1(self, seed, identity):
        vector = sample_person(seed, identity).as_vector()
        assert vector.dtype == np.float32 and vector.shape == (len(attribute_names()),)
        assert vector.min() >= 0 and vector.max() <= 1
        assert len(set(attribute_names())) == len(vector)

    def test_every_field_is_in_the_vector(self):
        named = {name.split("=")[0].split(".")[0] for name in attribute_names()}
        assert named == {field.name for field in fields(Appearance)}

    def test_what_is_not_worn_does_not_count(self):
        person = replace(sample_person(1, 1), bag="none", hat="none", pattern="plain", opening=0.0)
        other = replace(person, bag_colour=(0.1, 0.2, 0.3), hat_colour=(0.9, 0.1, 0.1), upper_second=(0.5, 0.4, 0.3), inner=(0.2, 0.9, 0.1))
        assert (person.as_vector() == other.as_vector()).all()
        assert (person.as_vector() != replace(person, upper=(0.31, 0.32, 0.33)).as_vector()).any()

    @pytest.mark.parametrize("seed", [1, 2, 7])
    def test_look_alikes_are_near_each_other_but_not_the_same(self, seed):
        vectors = {identity: sample_person(seed, identity).as_vector() for identity in range(1, 97)}
        pairs = [(i, look_alike_of(i)) for i in vectors if look_alike_of(i) is not None]
        assert len(pairs) == 24
        alike = np.array([np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs])
        strangers = np.array([np.linalg.norm(vectors[i] - vectors[j]) for i in vectors for j in vectors if i % 8 == 4 and j % 8 == 5])
        assert alike.mean() < 0.8 * strangers.mean() and alike.min() > 0.6
        for identity, original in pairs:
            a, b = sample_person(seed, identity), sample_person(seed, original)
            assert (a.upper, a.sleeve, a.hem, a.hood, a.lower_kind) == (b.upper, b.sleeve, b.hem, b.hood, b.lower_kind)

    def test_people_differ(self):
        assert len({sample_person(1, identity) for identity in range(1, 400)}) == 399
        assert sample_person(1, 1) != sample_person(2, 1)


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
