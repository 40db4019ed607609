"""The file of corrections that a report's page gives."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reid.errors import ReidError
from reid.files import read_json
from reid.system_errors import shown

__all__ = ["Correction", "Corrections", "Merge", "Name", "NotAPerson", "Split", "read", "sightings_digest"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Name(_Strict):
    """A person is called ``name``: an unknown one gets it, a known one is renamed."""

    action: Literal["name"]
    person: str
    name: str


class Merge(_Strict):
    """Two people are one."""

    action: Literal["merge"]
    person: str
    into: str


class Split(_Strict):
    """Some sightings, ``camera:tracklet``, show somebody else: ``into``, or a new unknown person."""

    action: Literal["split"]
    person: str
    sightings: Annotated[list[str], Field(min_length=1)]
    into: str | None = None


class NotAPerson(_Strict):
    """Sightings that show nobody."""

    action: Literal["not_a_person"]
    sightings: Annotated[list[str], Field(min_length=1)]


Correction = Annotated[Name | Merge | Split | NotAPerson, Field(discriminator="action")]


class _Document(_Strict):
    form: Literal[1] = Field(alias="schema")
    job: str
    corrections: Annotated[list[Correction], Field(min_length=1)]


@dataclass(frozen=True)
class Corrections:
    """What is to be corrected, in order. ``job`` is :func:`sightings_digest` of the report that it was made
    in, ``digest`` of the corrections themselves.
    """

    job: str
    corrections: tuple[Name | Merge | Split | NotAPerson, ...]
    digest: str


def read(path: Path) -> Corrections:
    """Read a file of corrections.

    Raises:
        UsageError: there is no file.
        ReidError: it is none that a report gives.
    """
    value = read_json(path, "file of corrections")
    try:
        document = _Document.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ReidError(
            f"{path} is no file of corrections that a report gives ({shown(key)}: {first['msg']}): save it "
            "from the page again"
        ) from error
    text = json.dumps(document.model_dump(mode="json"), sort_keys=True)
    return Corrections(
        document.job, tuple(document.corrections), hashlib.sha256(text.encode()).hexdigest()[:32]
    )


def sightings_digest(rows: Iterable[dict[str, Any]]) -> str:
    """A hash of who was seen where and when: corrections are of the sightings and names of one report."""
    columns = ("camera", "tracklet", "start_frame", "end_frame", "identity", "provisional")
    facts = sorted(([row[name] for name in columns] for row in rows), key=lambda one: one[:2])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
