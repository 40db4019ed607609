"""Footage of the town with its truth: people cross an empty, static place, and every box has the identity it
belongs to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.cameras import Camera, build_camera, respond
from reid.data.synthetic.crops import place
from reid.data.synthetic.hours import camera_starts, hour_of_day, in_daylight
from reid.data.synthetic.passage import longest_passage_s, plan_passage
from reid.data.synthetic.people import PASSERS_BY, Appearance, dressed, sample_person
from reid.data.synthetic.scene import Placed, build_scene, compose
from reid.data.synthetic.seeds import generator
from reid.data.synthetic.spec import TownSpec
from reid.data.synthetic.views import bearings, plan_shared_walk, seen_by
from reid.data.synthetic.walks import Walk, plan_walk

__all__ = ["TruthBox", "Visit", "plan_visits", "render_footage", "write_video"]

Image = npt.NDArray[np.uint8]
# The first second is empty, so that a background model can settle.
_EMPTY_S, _IN_VIEW_S = 1.1, (4.2, 5.6)
# Of somebody who is only just stepping into the picture there is no box yet.
_LEAST_VISIBLE = 0.35
_PASSERS_BY_EACH, _PASSERS_BY_TO_CHOOSE = 2, 200


@dataclass(frozen=True, slots=True)
class Visit:
    """One person walking through one camera's view, from ``start`` seconds on."""

    identity: int
    person: Appearance
    start: float
    walk: Walk


@dataclass(frozen=True, slots=True)
class TruthBox:
    """Where a person is in a frame (1-based): x, y, width, height in pixels, clipped to the image."""

    frame: int
    identity: int
    box: tuple[int, int, int, int]

    def as_mot(self) -> str:
        """A line of a MOTChallenge 2015 file (Leal-Taixé et al. 2015, data format): 3D coordinates unknown,
        hence -1.
        """
        return f"{self.frame},{self.identity}," + ",".join(map(str, self.box)) + ",1,-1,-1,-1"


def plan_visits(spec: TownSpec, camera: Camera, identities: Sequence[int]) -> list[Visit]:
    """Everybody once, at times spread so that few are in view at once, and passers-by where there is a crowd.

    Disjoint views have an order and walks of their own in each camera; overlapping ones share both, each seen
    from its side; in a passage people come to each camera from the one beside it.
    """
    shared = spec.views != "disjoint"
    plan = 0 if shared else camera.number
    turned = bearings(camera, spec.cameras)
    another_day = shared or 2 * camera.number > spec.cameras
    longest = min(_IN_VIEW_S[1], spec.footage_seconds - _EMPTY_S - 0.2)
    there_s = longest if spec.views != "passage" else longest_passage_s(spec.cameras, longest)
    last = max(spec.footage_seconds - 0.1 - there_s, _EMPTY_S)

    def visit(identity: int, person: Appearance, rng: np.random.Generator) -> Visit:
        stay = (_IN_VIEW_S[0], longest)
        if spec.views == "passage":
            way = list(plan_passage(camera, spec.cameras, person.stature, rng, stay))
            return next(
                Visit(identity, person, at, walk) for number, at, walk in way if number == camera.number
            )
        if spec.views == "disjoint":
            return Visit(identity, person, 0.0, plan_walk(camera, person.stature, rng, stay))
        walk = plan_shared_walk(camera, turned, person.stature, rng, stay)
        return Visit(identity, person, 0.0, seen_by(walk, camera, turned[camera.number - 1]))

    rng = generator(spec.seed, "visits", plan)
    starts = np.linspace(_EMPTY_S, last, len(identities))
    gap = starts[1] - starts[0] if len(starts) > 1 else 0.0
    visits = []
    for place_in_line, index in enumerate(rng.permutation(len(identities))):
        identity = identities[index]
        one = visit(identity, dressed(spec.seed, identity, spec.clothes_change, another_day), rng)
        late = rng.uniform(-0.3, 0.3) * gap if 0 < place_in_line < len(identities) - 1 else 0.0
        visits.append(replace(one, start=one.start + float(starts[place_in_line] + late)))
    rng = generator(spec.seed, "passers-by", plan)
    count = round(_PASSERS_BY_EACH * spec.crowd * len(identities))
    for number in rng.permutation(max(_PASSERS_BY_TO_CHOOSE, count))[:count]:
        one = visit(PASSERS_BY + int(number), sample_person(spec.seed, PASSERS_BY + int(number)), rng)
        visits.append(replace(one, start=one.start + float(rng.uniform(_EMPTY_S, last))))
    return visits


def render_footage(
    spec: TownSpec, camera_number: int, identities: Sequence[int]
) -> Iterator[tuple[Image, list[TruthBox]]]:
    """Frame by frame, (footage_height, footage_width, 3) uint8 RGB with the boxes of whoever is in view."""
    camera = build_camera(spec.seed, camera_number, spec.footage_width, spec.footage_height)
    scene = build_scene(camera, spec.occluders)
    visits = plan_visits(spec, camera, identities)
    start = hour_of_day(camera_starts(spec)[camera_number - 1])
    whole = (0, 0, camera.width, camera.height)
    for index in range(round(spec.footage_seconds * spec.footage_fps)):
        seconds = index / spec.footage_fps
        present = [visit for visit in visits if 0 <= seconds - visit.start <= visit.walk.duration]
        people = [place(visit.person, visit.walk.at(seconds - visit.start), camera) for visit in present]
        boxes = [
            _truth(index + 1, visit.identity, placed, camera)
            for visit, placed in zip(present, people, strict=True)
        ]
        picture = compose(scene, people, whole)
        if spec.daylight > 0:
            picture = in_daylight(picture, start + seconds / 3600, spec.daylight)
        frame = respond(picture, camera, generator(spec.seed, "frame", camera_number, index))
        yield frame, [box for box in boxes if box is not None]


def _truth(frame: int, identity: int, placed: Placed, camera: Camera) -> TruthBox | None:
    """The tight box of what of the person lies inside the image, whoever stands before them; None while too
    little does.
    """
    left, top = placed.corner
    drawn = placed.figure.image[..., 3] > 0.5
    rows = slice(max(-top, 0), max(camera.height - top, 0))
    columns = slice(max(-left, 0), max(camera.width - left, 0))
    inside = drawn[rows, columns]
    if inside.sum() < _LEAST_VISIBLE * drawn.sum():
        return None
    in_rows, in_columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    x, y = left + columns.start + int(in_columns[0]), top + rows.start + int(in_rows[0])
    return TruthBox(
        frame, identity, (x, y, int(in_columns[-1] - in_columns[0]) + 1, int(in_rows[-1] - in_rows[0]) + 1)
    )


def write_video(
    path: Path, frames: Iterator[Image], width: int, height: int, fps: int, compression: float = 0.0
) -> Iterator[None]:
    """Encode RGB frames as VP8 in WebM, which every browser plays; one frame a step.

    OpenCV's own VP8 writer leaves libvpx at its slow setting; this asks for real time with a fixed effort, so
    that equal frames give equal files. ``compression``, 0 to 1: from good quality to the least the codec has.
    """
    effort = {"deadline": "realtime", "cpu-used": "-8", "crf": str(20 + round(43 * compression))}
    with av.open(str(path), "w", format="webm", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libvpx", rate=Fraction(fps), options=effort)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = int(0.4 * (1 - 0.95 * compression) * width * height * fps)
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            yield
        container.mux(stream.encode(None))
