"""What corrections come to: who each sighting shows, and what the gallery gets; nothing is changed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reid.errors import ReidError
from serving.gallery import check_name, merge_in, rename_in
from serving.job.corrections.document import Merge, Name, NotAPerson, Split
from serving.job.layout import Key, is_stranger, key_of, name_of, stranger_name, stranger_number

__all__ = ["Plan", "names_of", "plan_corrections"]


def names_of(rows: Iterable[dict[str, Any]]) -> dict[Key, str]:
    """Who each sighting shows."""
    return {key_of(row): name_of(row) for row in rows}


@dataclass
class Plan:
    """``was`` and ``now``: who each sighting shows before and after; one that shows nobody is not in
    ``now``.

    ``steps`` are changes of people whom the gallery knows, in order; ``renamed`` is what they are called
    then.
    """

    was: dict[Key, str]
    now: dict[Key, str]
    enrolled: set[str]
    steps: list[Callable[..., None]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def promoted(self) -> dict[str, list[Key]]:
        """The sightings of unknown people that have a name now, by name."""
        found: dict[str, list[Key]] = {}
        for key, person in self.now.items():
            if is_stranger(self.was[key]) and not is_stranger(person):
                found.setdefault(person, []).append(key)
        return found

    @property
    def moved(self) -> list[Key]:
        """The sightings that show somebody else now, by more than another name of the person."""
        return [key for key, person in self.now.items() if person != self.current(self.was[key])]

    def current(self, person: str) -> str:
        """What somebody who had a name before is called now."""
        return self.renamed.get(person, person)


def plan_corrections(
    rows: Iterable[dict[str, Any]],
    enrolled: Iterable[str],
    corrections: Sequence[Name | Merge | Split | NotAPerson],
) -> Plan:
    """Go through the corrections in order.

    Args:
        rows: the job's sightings.
        enrolled: whom its gallery knew.
        corrections: in the order in which they were made.

    Raises:
        ReidError: somebody or something that is named is not in the job, or a name cannot be given.
    """
    was = names_of(rows)
    known = {*enrolled, *(person for person in was.values() if not is_stranger(person))}
    plan = Plan(was, dict(was), known)
    for one in corrections:
        match one:
            case Name():
                _name(plan, one.person, _checked(one.name))
            case Merge():
                _merge(plan, one.person, one.into)
            case Split():
                keys = [_sighting(plan, text, one.person) for text in one.sightings]
                into = _next_stranger(plan) if one.into is None else one.into
                into = into if is_stranger(into) else _checked(into)
                plan.now |= dict.fromkeys(keys, into)
            case NotAPerson():
                for text in one.sightings:
                    del plan.now[_sighting(plan, text)]
    return plan


def _name(plan: Plan, person: str, name: str) -> None:
    _seen(plan, person)
    if person == name:
        raise ReidError(f"{person!r} is called so already: take that correction out")
    if person in plan.enrolled:
        if name in plan.enrolled:
            raise ReidError(f"{name!r} is somebody already: merge {person!r} into them instead")
        _rename(plan, person, name)
    _relabel(plan, person, name)


def _merge(plan: Plan, person: str, into: str) -> None:
    _seen(plan, person)
    if into not in plan.enrolled:
        _seen(plan, into)
    if person == into:
        raise ReidError(f"{person!r} cannot be merged into itself: name two people")
    if is_stranger(into) and not is_stranger(person):
        raise ReidError(f"{person!r} has a name and {into!r} has none: merge {into!r} into {person!r}")
    if person in plan.enrolled:
        if into in plan.enrolled:
            plan.steps.append(partial(merge_in, identity=person, into=into))
            plan.enrolled.discard(person)
            _note(plan, person, into)
        else:  # somebody who got a name here and is in no gallery yet
            _rename(plan, person, into)
    _relabel(plan, person, into)


def _rename(plan: Plan, person: str, name: str) -> None:
    plan.steps.append(partial(rename_in, identity=person, new_name=name))
    plan.enrolled = (plan.enrolled - {person}) | {name}
    _note(plan, person, name)


def _note(plan: Plan, person: str, name: str) -> None:
    for before, after in plan.renamed.items():
        if after == person:
            plan.renamed[before] = name
    plan.renamed[person] = name


def _relabel(plan: Plan, person: str, name: str) -> None:
    plan.now = {key: name if had == person else had for key, had in plan.now.items()}


def _seen(plan: Plan, person: str) -> None:
    if person not in plan.now.values():
        raise ReidError(f"nobody is called {person!r} in this job: open its report anew and correct there")


def _sighting(plan: Plan, text: str, person: str | None = None) -> Key:
    camera, _, number = text.rpartition(":")
    key = (camera, int(number) if number.isdecimal() and number.isascii() else -1)
    if key not in plan.now:
        raise ReidError(f"there is no sighting {text!r} in this job: open its report anew and correct there")
    if person is not None and plan.now[key] != person:
        raise ReidError(f"sighting {text!r} is of {plan.now[key]!r}, not of {person!r}: correct it again")
    return key


def _checked(name: str) -> str:
    name = check_name(name)
    if is_stranger(name):
        raise ReidError(f"{name!r} is what a job calls somebody unknown: choose another name")
    return name


def _next_stranger(plan: Plan) -> str:
    names = {*plan.was.values(), *plan.now.values()}
    numbers = [stranger_number(one) for one in names if is_stranger(one)]
    return stranger_name(max(numbers, default=0) + 1)
