from pathlib import Path

import numpy as np
import pytest

from serving.gallery import Gallery
from serving.gallery.conflicts import Conflict, describe, find_conflicts
from tests.serving.rows import at_angle, chord


@pytest.fixture
def gallery(tmp_path: Path):
    with Gallery.open(tmp_path / "g.db", "m", create=True) as opened:
        opened.enroll("anna", at_angle(0, 5))
        opened.enroll("bert", at_angle(90))
        yield opened


def found(
    gallery: Gallery, near: float | None, *rows: tuple[str, float]
) -> list[tuple[str, str, str, float]]:
    conflicts = find_conflicts(
        gallery,
        [name for name, _ in rows],
        at_angle(*(angle for _, angle in rows)),
        [f"{a}" for _, a in rows],
        near,
    )
    return [(one.kind, one.identity, one.other, round(one.distance, 4)) for one in conflicts]


def test_the_same_picture_is_pointed_out_whatever_counts_as_near(gallery: Gallery) -> None:
    assert found(gallery, None, ("anna", 5), ("anna", 7), ("anna", 7)) == [
        ("duplicate", "anna", "anna", 0),
        ("duplicate", "anna", "anna", 0),
    ]
    assert found(gallery, None, ("bert", 0), ("carl", 90)) == [
        ("contradiction", "bert", "anna", 0),
        ("contradiction", "carl", "bert", 0),
    ]
    assert found(gallery, None, ("carl", 1), ("anna", 89)) == []


def test_who_is_nearer_to_somebody_else_contradicts(gallery: Gallery) -> None:
    near = chord(20)
    assert found(gallery, near, ("carl", 10), ("carl", 60)) == [
        ("contradiction", "carl", "anna", round(chord(5), 4))
    ]
    assert found(gallery, near, ("bert", 15)) == [("contradiction", "bert", "anna", round(chord(10), 4))]
    # Nearer to the own person, or far from everybody.
    gallery.enroll("dora", at_angle(24))
    assert found(gallery, near, ("anna", 12), ("bert", 80), ("anna", 45)) == []


def test_new_people_are_compared_with_each_other_once(gallery: Gallery) -> None:
    assert found(gallery, 0.1, ("carl", 200), ("dora", 200), ("eve", 300)) == [
        ("contradiction", "dora", "carl", 0)
    ]
    assert find_conflicts(gallery, [], np.empty((0, 2), np.float32), [], 0.1) == []


def test_lines_say_how_many_and_what_to_do() -> None:
    def against(kind: str, identity: str, other: str, distance: float = 0.1) -> Conflict:
        return Conflict(kind, identity, "x.png", other, distance)

    conflicts = [against("contradiction", "carl", "anna")] * 2 + [against("contradiction", "dora", "anna")]
    conflicts += [against("contradiction", "bert", "anna"), against("duplicate", "bert", "bert", 0.0)]
    lines = describe(conflicts, ["carl"] * 3 + ["dora"] * 3 + ["bert"] * 2, frozenset({"bert"}))
    assert lines == [
        "'carl' looks like 'anna' (2 of 3 images): merge the two if they are one person",
        (
            "'bert' looks like 'anna' (1 of 2 images): move them with `reid gallery split` if they show "
            "somebody else"
        ),
        "'bert': 1 of 2 images are the same picture as another of the same name: one of each is enough",
    ]
