from serving.job.sightings.presence import resolve_simultaneous, together_s
from serving.job.sightings.sightings import Member, Sighting
from serving.matching import Match
from serving.matching.identification import UNKNOWN


def seen(camera: str, *spans: tuple[float, float]) -> Sighting:
    return Sighting(
        camera,
        1,
        tuple(Member(0, n, {"first_s": first, "last_s": last}) for n, (first, last) in enumerate(spans)),
    )


def named(name: str, distance: float) -> Match:
    return Match(name, distance, 0.5, "other", 0.8, 0.8 - distance, "anna")


def test_nobody_is_twice_in_a_picture() -> None:
    sightings = [seen("east", (0, 10)), seen("east", (5, 15)), seen("west", (5, 15)), seen("east", (12, 20))]
    matches = [named("anna", distance) for distance in (0.4, 0.2, 0.45, 0.3)]
    decided = resolve_simultaneous(sightings, matches)
    # The second is nearest; the first and the last share time with it in its camera, not with each other.
    assert [one.identity for one in decided] == [UNKNOWN, "anna", "anna", UNKNOWN]
    assert [one.distance for one in decided] == [one.distance for one in matches]
    assert decided[0].nearest == "anna"


def test_a_sighting_without_its_name_takes_it_from_nobody() -> None:
    sightings = [seen("east", (0, 10)), seen("east", (8, 18)), seen("east", (16, 30))]
    decided = resolve_simultaneous(sightings, [named("anna", 0.1), named("anna", 0.2), named("anna", 0.3)])
    assert [one.identity for one in decided] == ["anna", UNKNOWN, "anna"]


def test_a_short_handover_and_different_people_may_share_a_picture() -> None:
    sightings = [seen("east", (0, 10)), seen("east", (9.6, 15)), seen("east", (0, 15))]
    matches = [named("anna", 0.1), named("anna", 0.2), named("bert", 0.4)]
    assert resolve_simultaneous(sightings, matches) == matches


def test_pauses_do_not_count() -> None:
    assert together_s(seen("east", (0, 4), (8, 12)), seen("east", (5, 9))) == 1.0
    unknown = [named(UNKNOWN, 0.7), named(UNKNOWN, 0.7)]
    assert resolve_simultaneous([seen("east", (0, 4)), seen("east", (0, 4))], unknown) == unknown
