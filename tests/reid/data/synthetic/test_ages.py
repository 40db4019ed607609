"""Children and old people among those rendered for carrying over."""

from dataclasses import replace

import numpy as np
import pytest

from reid.data.synthetic.wardrobe import WardrobeSpec, render_person
from reid.data.synthetic.wardrobe.ages import draw_person
from reid.data.synthetic.wardrobe.atlas import ROWS, build_atlas
from reid.data.synthetic.wardrobe.cameras import build_place, nearer
from reid.data.synthetic.wardrobe.figure import solids_of
from reid.data.synthetic.wardrobe.outfits import Age, Outfit, draw_outfit
from reid.data.synthetic.wardrobe.stances import Stance, draw_stance

WITHOUT = WardrobeSpec(cameras=6, cameras_per_person=2, images_per_camera=2, image_height=64, image_width=32)
SPEC = replace(WITHOUT, ages=1.0)
PEOPLE = [draw_person(SPEC, person) for person in range(400)]
CHILDREN = [one for one in PEOPLE if one.age.size != 1]
OLD = [one for one in PEOPLE if one.age.stoop]


def heads_high(outfit: Outfit) -> float:
    """How many heads, from crown to chin, somebody is tall who stands straight."""
    solids = list(solids_of(outfit, Stance()))
    (skull,) = (solid for solid in solids if solid.rows == ROWS["head"])
    top = skull.start[1] + skull.round * skull.knots[0]
    chin = skull.end[1] - skull.round * skull.knots[-1]
    return top / (top - chin)


def lean(outfit: Outfit) -> float:
    """How far ahead of the hips the head is, body heights."""
    solids = list(solids_of(outfit, Stance()))
    (skull,) = (solid for solid in solids if solid.rows == ROWS["head"])
    return skull.start[2]


def test_so_many_of_the_people_are_children_and_old() -> None:
    assert len(CHILDREN) / len(PEOPLE) == pytest.approx(0.16, abs=0.05)
    assert len(OLD) / len(PEOPLE) == pytest.approx(0.20, abs=0.05)
    few = [draw_person(replace(SPEC, ages=0.25), person) for person in range(400)]
    changed = [number for number, one in enumerate(few) if one.age != Age()]
    assert 0.04 < len(changed) / 400 < 0.15
    assert all(few[number] == PEOPLE[number] for number in changed)


def test_all_others_are_who_they_were_to_the_byte() -> None:
    plain = [draw_outfit(WITHOUT, person) for person in range(400)]
    others = [number for number, one in enumerate(PEOPLE) if one.age == Age()]
    assert all(PEOPLE[number] == plain[number] for number in others)
    assert all(draw_person(WITHOUT, person) == plain[person] for person in range(400))
    changed = next(number for number in range(400) if number not in others)
    for number, same in ((others[0], True), (changed, False)):
        mine, theirs = (
            np.stack([crop.image for crop in render_person(of, number)]) for of in (SPEC, WITHOUT)
        )
        assert np.array_equal(mine, theirs) == same


def test_the_smaller_a_child_the_larger_its_head_and_the_shorter_its_legs() -> None:
    grown_up = next(one for one in PEOPLE if one.age == Age() and one.hair_kind == "short")
    assert heads_high(grown_up) == pytest.approx(7.3, abs=0.3)
    heads = [heads_high(replace(one, hair_kind="short", hat="none")) for one in CHILDREN]
    assert min(heads) < 5.6 and max(heads) > 6.7 and all(4.8 < one < 7.4 for one in heads)
    statures = [one.stature for one in CHILDREN]
    assert np.corrcoef(statures, heads)[0, 1] > 0.9
    assert np.corrcoef(statures, [one.age.legs for one in CHILDREN])[0, 1] > 0.9
    assert 0.75 < min(statures) < 1.0 and max(statures) < 1.8


def test_children_stand_on_the_ground_and_are_one_high() -> None:
    for outfit in CHILDREN:
        ends = [y for solid in solids_of(outfit, Stance()) for y in (solid.start[1], solid.end[1])]
        assert -0.03 < min(ends) < 0.03
        assert 0.95 < max(ends) < 1.04


def test_old_people_bend_walk_in_small_steps_and_are_mostly_grey() -> None:
    straight = lean(next(one for one in PEOPLE if one.age == Age() and one.bag == "none"))
    assert all(lean(one) > straight for one in OLD)
    assert max(lean(one) for one in OLD) > straight + 0.1
    assert all(one.age.pace < 0.9 for one in OLD)
    grey = [max(one.hair) - min(one.hair) < 0.12 and min(one.hair) > 0.35 for one in OLD]
    assert np.mean(grey) > 0.8
    assert 0.05 < np.mean([one.age.stick for one in OLD]) < 0.4


def test_a_stick_is_dark_and_held_low_whatever_else_the_arm_would_do() -> None:
    for number, one in enumerate(outfit for outfit in OLD if outfit.age.stick):
        drawn = draw_stance(np.random.default_rng(number), one, 1.0)
        for right in ("swing", "pocket", "ear", "front", "strap"):
            solids = list(solids_of(one, replace(drawn, arms=("swing", right))))
            (stick,) = (solid for solid in solids if solid.rows == ROWS["stick"])
            assert stick.end[1] == 0
            assert 0.3 < stick.start[1] < 0.55
            assert abs(stick.start[2] - stick.end[2]) < 0.1
        white = replace(one, shoes=(0.95, 0.95, 0.95), soles=(0.95, 0.95, 0.95))
        first, last = ROWS["stick"]
        assert build_atlas(white)[first:last].max() < 0.2


def test_a_child_is_seen_from_higher_and_further_off_and_in_fewer_pixels() -> None:
    place = build_place(SPEC, 0)
    assert nearer(place, 1.0) is place
    small = nearer(place, 0.5)
    assert small.pitch > place.pitch
    assert small.distance == 2 * place.distance
    assert small.keeps[1] == 0.5 * place.keeps[1]
