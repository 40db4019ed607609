"""People, their drawing, and what cameras make of them."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.data.synthetic import (
    Appearance,
    TownSpec,
    attribute_names,
    changed_clothes,
    look_alike_of,
    sample_person,
)
from reid.data.synthetic.body import draw_person
from reid.data.synthetic.cameras import build_camera, respond
from reid.data.synthetic.crops import place
from reid.data.synthetic.footage import plan_visits
from reid.data.synthetic.scene import build_scene, compose
from reid.data.synthetic.seeds import generator
from reid.data.synthetic.skeleton import Pose
from reid.data.synthetic.surface import Light

SMALL = TownSpec(
    people=6, cameras=2, images_per_camera=2, footage_seconds=7.0, footage_fps=5, footage_people=3
)
LIGHT = Light(0.5, 0.3)


class TestBody:
    def pixels_of(self, person: Appearance, colour: tuple[float, float, float], yaw: float) -> int:
        image = draw_person(person, Pose(np.radians(yaw), 1.0, 0.3), 160, 0.1, Light(0.0, 0.0)).image
        return int(((np.abs(image[..., :3] - colour).max(axis=-1) < 0.12) & (image[..., 3] > 0.9)).sum())

    def person(self, **changes) -> Appearance:
        plain = {
            "pattern": "plain",
            "upper": (0.5, 0.5, 0.5),
            "opening": 0.0,
            "hair_length": 0.2,
            "hair_tied": False,
            "hat": "none",
        }
        return replace(
            sample_person(1, 1),
            **(plain | {"bag": "none", "hood": False, "hem": 0.0, "hair": (0.1, 0.1, 0.1)} | changes),
        )

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
        assert (
            self.pixels_of(person, (0.0, 0.0, 1.0), 180) > 2 * self.pixels_of(person, (0.0, 0.0, 1.0), 0) > 0
        )

    def test_turning_mirrors_a_symmetrical_person(self):
        person = self.person()
        left, right = (
            draw_person(person, Pose(yaw, 0.0, 0.0), 150, 0.0, Light(0.0, 0.3)) for yaw in (-1.2, 1.2)
        )
        assert abs(left.box[2] - right.box[2]) <= 1 and abs(left.box[3] - right.box[3]) <= 1

    def test_a_stride_is_wide_from_the_side_and_not_from_the_front(self):
        person = self.person(lower_kind="trousers")
        side = [
            draw_person(person, Pose(np.pi / 2, phase, 0.45), 150, 0.1, LIGHT).box[2]
            for phase in np.linspace(0, np.pi, 7)
        ]
        front = [
            draw_person(person, Pose(0.0, phase, 0.45), 150, 0.1, LIGHT).box[2]
            for phase in np.linspace(0, np.pi, 7)
        ]
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
            place(self.person(upper=colour, sleeve=1.0), replace(walk, x=-2.0, z=z), camera)
            for colour, z in ((red, near), (blue, far))
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
        cameras = [build_camera(1, number, 480, 360) for number in range(1, 9)]
        seen = [respond(image, camera, generator(1, "test")) for camera in cameras]
        assert (seen[0] == respond(image, cameras[0], generator(1, "test"))).all()
        means = np.array([one.mean(axis=(0, 1)) for one in seen])
        assert all(np.abs(means[i] - means[j]).max() > 2 for i in range(8) for j in range(i))

    def test_people_are_as_tall_as_the_spec_says(self):
        for number in (1, 2, 3):
            camera = build_camera(5, number, 480, 360)
            assert 1.52 * camera.far > 0.24 * 360 and 1.94 * camera.near < 0.47 * 360
            assert (
                camera.horizon
                < camera.foot(0.0, camera.focal / camera.far)[1]
                < camera.foot(0.0, camera.focal / camera.near)[1]
                < 360
            )


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
        other = replace(
            person,
            bag_colour=(0.1, 0.2, 0.3),
            hat_colour=(0.9, 0.1, 0.1),
            upper_second=(0.5, 0.4, 0.3),
            inner=(0.2, 0.9, 0.1),
        )
        assert (person.as_vector() == other.as_vector()).all()
        assert (person.as_vector() != replace(person, upper=(0.31, 0.32, 0.33)).as_vector()).any()

    @pytest.mark.parametrize("seed", [1, 2, 7])
    def test_look_alikes_are_near_each_other_but_not_the_same(self, seed):
        vectors = {identity: sample_person(seed, identity).as_vector() for identity in range(1, 97)}
        pairs = [(i, look_alike_of(i)) for i in vectors if look_alike_of(i) is not None]
        assert len(pairs) == 24
        alike = np.array([np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs])
        strangers = np.array(
            [
                np.linalg.norm(vectors[i] - vectors[j])
                for i in vectors
                for j in vectors
                if i % 8 == 4 and j % 8 == 5
            ]
        )
        assert alike.mean() < 0.8 * strangers.mean() and alike.min() > 0.6
        for identity, original in pairs:
            a, b = sample_person(seed, identity), sample_person(seed, original)
            assert (a.upper, a.sleeve, a.hem, a.hood, a.lower_kind) == (
                b.upper,
                b.sleeve,
                b.hem,
                b.hood,
                b.lower_kind,
            )

    def test_people_differ(self):
        assert len({sample_person(1, identity) for identity in range(1, 400)}) == 399
        assert sample_person(1, 1) != sample_person(2, 1)


def test_changed_clothes_leave_the_body() -> None:
    for identity in range(1, 30):
        before, after = sample_person(7, identity), changed_clothes(7, identity)
        assert (before.stature, before.build, before.skin, before.hair) == (
            after.stature,
            after.build,
            after.skin,
            after.hair,
        )
        assert np.abs(np.subtract(before.upper, after.upper)).max() > 0 and before != after
        assert after.lower_kind != "skirt" or after.hips >= 0.5
