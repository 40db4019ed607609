"""People rendered for training that carries over."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from reid.config import load_params
from reid.data.synthetic.wardrobe import INGREDIENTS, LATER, WardrobeSpec, render_people, render_person
from reid.data.synthetic.wardrobe.atlas import ROWS, build_atlas
from reid.data.synthetic.wardrobe.fabric import COLUMNS
from reid.data.synthetic.wardrobe.figure import solids_of
from reid.data.synthetic.wardrobe.outfits import draw_outfit
from reid.data.synthetic.wardrobe.solids import Buffers, Camera3D, Solid, draw
from reid.data.synthetic.wardrobe.stances import Stance, draw_stance
from reid.errors import UsageError

SPEC = WardrobeSpec(
    people=12, cameras=6, cameras_per_person=3, images_per_camera=2, image_height=96, image_width=48
)


@pytest.fixture(scope="module")
def rendered() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return render_people(SPEC)


def test_shapes_types_and_who_is_seen_where(
    rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    images, people, cameras = rendered
    assert images.shape == (12 * 6, 96, 48, 3)
    assert images.dtype == np.uint8
    assert people.tolist() == np.repeat(np.arange(12), 6).tolist()
    assert cameras.min() >= 0
    assert cameras.max() < 6
    for person in range(12):
        _, counts = np.unique(cameras[people == person], return_counts=True)
        assert counts.tolist() == [2, 2, 2]


def test_a_person_is_the_same_whoever_was_rendered_before(
    rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    images, people, _ = rendered
    alone = np.stack([crop.image for crop in render_person(SPEC, 7)])
    np.testing.assert_array_equal(alone, images[people == 7])
    np.testing.assert_array_equal(render_people(SPEC, range(7, 8))[0], alone)


def test_another_seed_has_other_people_and_cameras() -> None:
    first = next(iter(render_person(SPEC, 0)))
    other = next(iter(render_person(replace(SPEC, seed=8), 0)))
    assert not np.array_equal(first.image, other.image)
    assert draw_outfit(SPEC, 0) != draw_outfit(WardrobeSpec(seed=8), 0)
    assert draw_outfit(SPEC, 0) == draw_outfit(SPEC, 0)


def test_pictures_of_one_person_are_all_different(
    rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    images, _, _ = rendered
    assert len({image.tobytes() for image in images}) == len(images)


def test_people_differ_more_than_pictures_of_one_person() -> None:
    """In the mean colours of the middle's upper and lower half: what tells people apart is there to be
    learnt, and camera and light are what hides it.
    """
    spec = WardrobeSpec(people=40, cameras=12, image_height=96, image_width=48)
    neutral = WardrobeSpec(
        people=40, cameras=12, image_height=96, image_width=48, response=0.0, light=0.0, occlusion=0.0
    )

    def ratio(of: WardrobeSpec) -> float:
        images, people, _ = render_people(of)
        parts = [images[:, 20:42, 18:30], images[:, 52:76, 18:30]]
        colours = np.concatenate([part.mean((1, 2)) for part in parts], 1)
        means = np.stack([colours[people == person].mean(0) for person in range(40)])
        within = np.mean([colours[people == person].var(0).sum() for person in range(40)])
        return float(means.var(0).sum() / within)

    shown = ratio(spec)
    assert shown > 1
    assert ratio(neutral) > 1.3 * shown


@pytest.mark.parametrize("name", INGREDIENTS)
def test_each_ingredient_changes_pictures(
    name: str, rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]
) -> None:
    images, _, _ = rendered
    without = render_people(replace(SPEC, **{name: 0.0}), range(4))[0]  # type: ignore[arg-type]
    assert not np.array_equal(without, images[: len(without)])


@pytest.mark.parametrize("name", LATER)
def test_what_came_later_changes_pictures_where_it_is_asked_for(
    name: str, rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]
) -> None:
    images, _, _ = rendered
    with_it = render_people(replace(SPEC, **{name: 1.0}))[0]  # type: ignore[arg-type]
    assert not np.array_equal(with_it, images)
    people = [crop.image for crop in render_person(replace(SPEC, **{name: 1.0}), 7)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(people, with_it[7 * 6 : 8 * 6])


def test_the_recipe_of_the_shipped_model_asks_for_none_of_it() -> None:
    town = load_params(Path(__file__).parents[4] / "recipes/rendered.yaml").synthetic
    assert [getattr(town, name) for name in LATER] == [0.0] * len(LATER)


def test_the_people_of_the_shipped_model_are_drawn_as_they_were(
    rendered: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    """Of these bytes, in the size of its recipe, is the ``data_hash`` of its card; what is added to the
    renderer must draw by itself.
    """
    shipped = render_people(WardrobeSpec(people=4, cameras=96, cameras_per_person=4, images_per_camera=2))[0]
    assert [hashlib.sha256(images.tobytes()).hexdigest()[:16] for images in (rendered[0], shipped)] == [
        "c0179f65eff3e44d",
        "ea2c9bf32a02b498",
    ]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("people", 1, "people is 1, want a whole number from 2 on"),
        ("seed", -1, "seed is -1, want a whole number from 0 on"),
        ("cameras", 2.5, "cameras is 2.5, want a whole number"),
        ("bags", 1.5, "bags is 1.5, want a share from 0 to 1"),
        ("light", True, "light is True, want a share"),
        ("h264", 2, "h264 is 2, want a share from 0 to 1"),
        ("cameras_per_person", 49, "cameras_per_person is 49, more than the 48 cameras"),
        ("image_width", 2000, "image_width is 2000, want at most 1024"),
    ],
)
def test_a_wrong_option_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WardrobeSpec(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(600, 300), (32, 1024)])
def test_pictures_as_large_as_may_be_asked_for(height: int, width: int) -> None:
    spec = WardrobeSpec(
        cameras=2,
        cameras_per_person=2,
        images_per_camera=1,
        image_height=height,
        image_width=width,
        h264=1.0,
        scenery=0.0,
    )
    images = [crop.image for crop in render_person(spec, 0)]
    assert {image.shape for image in images} == {(height, width, 3)}


def test_the_front_is_seen_from_the_front_and_the_left_from_the_left() -> None:
    """Columns of the atlas run from the back over the right, the front and the left to the back."""
    solid = Solid((0, 0.8, 0), (0, 0.2, 0), (0.2, 0.2), (0, 10), flat=0.6)
    for yaw, column in ((0.0, COLUMNS / 2), (np.pi / 2, COLUMNS / 4), (-np.pi / 2, 3 * COLUMNS / 4)):
        buffers = Buffers(100, 100)
        draw(buffers, solid, Camera3D(yaw, 0.0, 50.0, 90.0, (50.0, 50.0)))
        assert buffers.depth[50, 50] > 0
        assert buffers.column[50, 50] % COLUMNS == pytest.approx(column, abs=2)
    buffers = Buffers(100, 100)
    draw(buffers, solid, Camera3D(np.pi, 0.0, 50.0, 90.0, (50.0, 50.0)))
    assert min(buffers.column[50, 50] % COLUMNS, -buffers.column[50, 50] % COLUMNS) < 2


def test_a_body_is_as_broad_as_it_looks_from_there() -> None:
    solid = Solid((0, 0.8, 0), (0, 0.2, 0), (0.2, 0.2), (0, 10), flat=0.5)
    for yaw, half in ((0.0, 0.2), (np.pi / 2, 0.1), (np.pi / 4, np.hypot(0.2, 0.1) / np.sqrt(2))):
        buffers = Buffers(100, 100)
        draw(buffers, solid, Camera3D(yaw, 0.0, 1000.0, 90.0, (50.0, 50.0)))
        assert (buffers.depth[50] > -np.inf).sum() == pytest.approx(2 * half * 90, abs=2)


def test_what_is_nearer_hides_what_is_behind_in_any_order() -> None:
    near = Solid((0, 0.8, 0.3), (0, 0.2, 0.3), (0.1, 0.1), (5, 5))
    far = Solid((0, 0.8, 0), (0, 0.2, 0), (0.1, 0.1), (1, 1))
    for order in ((near, far), (far, near)):
        buffers = Buffers(100, 100)
        for solid in order:
            draw(buffers, solid, Camera3D(0.0, 0.0, 50.0, 90.0, (50.0, 50.0)))
        assert buffers.row[50, 50] == 5


def test_everybody_stands_on_the_ground_and_is_one_high() -> None:
    for person in range(30):
        outfit = draw_outfit(SPEC, person)
        stance = draw_stance(np.random.default_rng(person), outfit, 1.0)
        ends = [point for solid in solids_of(outfit, stance) for point in (solid.start, solid.end)]
        assert -0.03 < min(y for _, y, _ in ends) < 0.03
        assert 0.9 < max(y for _, y, _ in ends) < 1.06


def test_a_backpack_is_seen_behind_and_its_straps_in_front() -> None:
    worn = next(outfit for outfit in (draw_outfit(SPEC, n) for n in range(200)) if outfit.bag == "backpack")
    first, last = ROWS["bag"]
    shown = []
    for yaw in (0.0, np.pi):
        buffers = Buffers(128, 128)
        for solid in solids_of(worn, Stance()):
            draw(buffers, solid, Camera3D(yaw, 0.0, 8.0, 100.0, (64.0, 64.0)))
        seen = buffers.depth > -np.inf
        shown.append(int(((buffers.row >= first) & (buffers.row <= last) & seen).sum()))
    assert shown[1] > 8 * max(shown[0], 10)


def test_an_atlas_holds_shares_of_every_surface() -> None:
    atlas = build_atlas(draw_outfit(SPEC, 3))
    assert atlas.dtype == np.float32
    assert atlas.shape == (max(end for _, end in ROWS.values()) + 1, COLUMNS, 3)
    assert atlas.min() > 0
    assert atlas.max() <= 1
