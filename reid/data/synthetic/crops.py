"""Crops as a detector would cut them: one person, boxes a little off, other people in the way at times."""

from dataclasses import replace
from math import cos, sin

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.body import draw_person
from reid.data.synthetic.cameras import Camera, build_camera, respond
from reid.data.synthetic.hours import hour_of, in_daylight
from reid.data.synthetic.people import PASSERS_BY, Appearance, dressed, sample_person
from reid.data.synthetic.scene import Placed, build_scene, compose
from reid.data.synthetic.seeds import generator
from reid.data.synthetic.skeleton import Pose, build_skeleton
from reid.data.synthetic.spec import TownSpec
from reid.data.synthetic.walks import Step, plan_walk

__all__ = ["place", "pose_in_crop", "render_crop"]

Image = npt.NDArray[np.uint8]
_COMPANY, _STANDING, _DRIFT = 0.25, 0.12, 0.10


def place(person: Appearance, step: Step, camera: Camera) -> Placed:
    """Draw a person where they stand in a camera's image."""
    x, y, scale = camera.foot(step.x, step.z)
    return Placed(
        draw_person(person, step.pose, scale * person.stature, camera.pitch(step.z), camera.light), (x, y)
    )


def render_crop(spec: TownSpec, identity: int, camera_number: int, n: int) -> Image:
    """Crop ``n`` of a person in a camera, (image_height, image_width, 3) uint8 RGB, before JPEG."""
    rng = generator(spec.seed, "crop", identity, camera_number, n)
    camera = build_camera(spec.seed, camera_number, spec.footage_width, spec.footage_height)
    person = _worn(spec, identity, n)
    step = _moment(camera, person, rng)
    target = place(person, step, camera)
    window = _loose_window(target.box, camera, rng)
    people = [target]
    if rng.random() < _COMPANY:
        other = sample_person(spec.seed, PASSERS_BY + int(rng.integers(200)))
        aside = rng.choice((-1, 1)) * rng.uniform(0.35, 0.75)
        company = _moment(camera, other, rng)
        people.append(
            place(other, replace(company, x=step.x + aside, z=step.z + rng.uniform(-0.8, 1.6)), camera)
        )
    # The options draw from generators of their own, so that without them not a byte changes.
    people += _crowd(spec, identity, camera, n, step)
    scene = compose(build_scene(camera, spec.occluders), people, window)
    if spec.daylight > 0:
        scene = in_daylight(scene, hour_of(spec.seed, identity, camera_number, n), spec.daylight)
    seen = respond(scene, camera, rng, drift=_DRIFT)
    return cv2.resize(seen, (spec.image_width, spec.image_height), interpolation=cv2.INTER_LINEAR)


def pose_in_crop(spec: TownSpec, identity: int, camera: Camera, n: int) -> tuple[float, ...]:
    """How the person of crop ``n`` stands: 12 joints as the camera sees them, in shares of the body height.

    Hips, knees, ankles, shoulders, elbows and hands, left before right: for each how far to the right of the
    body's axis and how high above the ground. The joints of one side keep their places in the vector, so that
    who walks to the left is far from who walks to the right.
    """
    person = _worn(spec, identity, n)
    pose = _moment(camera, person, generator(spec.seed, "crop", identity, camera.number, n)).pose
    bones = build_skeleton(person, pose)
    joints = [joint for limb in (*bones.legs, *bones.arms) for joint in (limb.top, limb.middle, limb.end)]
    seen = [(x * cos(pose.yaw) + z * sin(pose.yaw), y) for x, y, z in joints]
    return tuple(value for joint in seen for value in joint)


def _worn(spec: TownSpec, identity: int, n: int) -> Appearance:
    """A person as they are dressed in crop ``n``."""
    another_day = 2 * n >= spec.images_per_camera > 1
    return dressed(spec.seed, identity, spec.clothes_change, another_day)


def _crowd(spec: TownSpec, identity: int, camera: Camera, n: int, step: Step) -> list[Placed]:
    rng = generator(spec.seed, "crowd", identity, camera.number, n)
    if rng.random() >= spec.crowd:
        return []
    others = []
    for _ in range(int(rng.integers(2, 4))):
        other = sample_person(spec.seed, PASSERS_BY + int(rng.integers(200)))
        moment = _moment(camera, other, rng)
        # Beside or behind, seldom before: who is hidden altogether cannot be recognised.
        aside = rng.choice((-1, 1)) * rng.uniform(0.3, 0.9)
        others.append(
            place(other, replace(moment, x=step.x + aside, z=step.z + rng.uniform(-0.4, 2.0)), camera)
        )
    return others


def _moment(camera: Camera, person: Appearance, rng: np.random.Generator) -> Step:
    """A moment of some walk, with people looking around a little more than in footage."""
    walk = plan_walk(camera, person.stature, rng, (4.0, 6.0))
    step = walk.at(walk.duration * rng.uniform(0.2, 0.8))
    swing = 0.06 if rng.random() < _STANDING else step.pose.swing
    return replace(step, pose=Pose(step.pose.yaw + rng.normal(0, 0.35), step.pose.phase, swing))


def _loose_window(
    box: tuple[int, int, int, int], camera: Camera, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    x, y, width, height = box
    # Detectors do not follow a narrow figure all the way.
    spare = max(0.38 * height - width, 0.0) / 2
    left, right = spare + rng.uniform(-0.05, 0.16, 2) * width
    above, below = rng.uniform(-0.03, 0.07, 2) * height
    x0, y0 = max(int(x - left), 0), max(int(y - above), 0)
    return (
        x0,
        y0,
        max(min(int(x + width + right), camera.width), x0 + 8),
        max(min(int(y + height + below), camera.height), y0 + 16),
    )
