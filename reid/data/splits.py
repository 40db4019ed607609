"""Splits by people: nobody trained on is ever a query, in the gallery, or used to choose and calibrate."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from reid.data.catalog import DISTRACTOR, JUNK, Record
from reid.errors import ReidError

__all__ = ["choose_test_people", "hold_out_validation", "split_people"]


def choose_test_people(identities: Iterable[str], share: float, seed: int) -> set[str]:
    """Draw the people who are tested on: ``share`` of all, at least two, and at least two are left to train
    on.

    Raises:
        ReidError: there are fewer than four people.
    """
    people = sorted(set(identities) - {JUNK, DISTRACTOR})
    if len(people) < 4:
        raise ReidError(
            f"the data hold {len(people)} people: a split into training and test needs at least 4"
        )
    count = min(max(2, round(share * len(people))), len(people) - 2)
    return set(np.random.default_rng([seed, 1]).permutation(people)[:count].tolist())


def split_people(records: Sequence[Record], test: Collection[str], query_per_camera: int) -> list[Record]:
    """Give a data set without an official split one: the images of ``test`` people become query and gallery,
    the rest trains.

    Of each test person and camera, ``query_per_camera`` images are queries. Where a camera has no image to
    spare for both, the person's first camera asks and the others answer.
    """
    seen: Counter[tuple[str, str]] = Counter()
    per_camera = Counter((record.identity, record.camera) for record in records)
    first_camera: dict[str, str] = {}
    for record in records:
        first_camera[record.identity] = min(record.camera, first_camera.get(record.identity, record.camera))
    result = []
    for record in records:
        if record.identity == DISTRACTOR:
            result.append(replace(record, split="gallery"))
            continue
        if record.identity not in test:
            result.append(replace(record, split="train"))
            continue
        key = (record.identity, record.camera)
        seen[key] += 1
        scarce = per_camera[key] <= query_per_camera
        asks = record.camera == first_camera[record.identity] if scarce else seen[key] <= query_per_camera
        result.append(replace(record, split="query" if asks else "gallery"))
    return result


def hold_out_validation(records: Sequence[Record], share: float, seed: int) -> list[Record]:
    """Move ``share`` of the training people, at least two where there are five or more, to the split
    ``val``.
    """
    per_person: dict[str, int] = defaultdict(int)
    for record in records:
        if record.split == "train" and record.identity not in (JUNK, DISTRACTOR):
            per_person[record.identity] += 1
    people = sorted(per_person)
    count = round(share * len(people))
    if share > 0 and len(people) >= 5:
        count = max(2, count)
    held = set(np.random.default_rng([seed, 2]).permutation(people)[:count].tolist())
    return [replace(r, split="val") if r.split == "train" and r.identity in held else r for r in records]
