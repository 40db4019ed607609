"""Where a project's MLflow store lies: also from an experiment's temporary folder, and after the project was
moved or copied.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from reid.errors import ReidError, UsageError

__all__ = ["StoreError", "absolute_uri", "in_project", "project_root", "relocate", "sqlite_file"]

_SQLITE = "sqlite:///"
_EXPERIMENTS = (".dvc", "tmp", "exps")
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold addresses of artifacts; those that a version of it
lacks are passed over.
"""


class StoreError(ReidError):
    """MLflow's store answers and cannot be used: an experiment was deleted, or the project has moved."""


def project_root() -> Path:
    """The folder that relative places mean: the present one, or the project itself where DVC runs an
    experiment in a copy of it.

    ``dvc exp run --temp`` and ``--queue`` work in ``.dvc/tmp/exps`` and remove it: what they log there would
    be lost.
    """
    here = Path.cwd()
    for start in range(len(here.parts) - len(_EXPERIMENTS)):
        if here.parts[start : start + len(_EXPERIMENTS)] == _EXPERIMENTS:
            return Path(*here.parts[:start])
    return here


def in_project(place: str | Path) -> Path:
    """A place as an absolute path.

    Raises:
        UsageError: it is a link in a circle.
    """
    try:
        return (project_root() / place).resolve()
    except RuntimeError as error:
        raise UsageError(
            f"{place} is a link that leads to itself: remove it or name another place"
        ) from error


def absolute_uri(uri: str) -> str:
    """A tracking URI that means the same from every working directory: relative SQLite paths become
    absolute.
    """
    if uri.startswith(_SQLITE) and not uri.startswith(f"{_SQLITE}/"):
        return _SQLITE + str(in_project(uri.removeprefix(_SQLITE)))
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The database of a tracking URI; None where it is no file."""
    return Path(absolute_uri(uri).removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def relocate(uri: str) -> list[tuple[str, str]]:
    """Correct the addresses of artifacts in a SQLite store whose project was moved or copied; returns (old,
    new) of each folder.

    Addresses below a folder ``mlruns`` that is not the one beside the database come to mean that one. All
    others stay.

    Raises:
        UsageError: the store is no SQLite file, or there is none.
        ReidError: it is damaged, or the disk is full.
    """
    database = sqlite_file(uri)
    if database is None:
        raise UsageError("tracking.uri is that of a server, which keeps its own places: nothing was changed")
    if not database.is_file():
        raise UsageError(f"{database} does not exist: run this in the project's folder")
    if database.parent != in_project("."):
        raise UsageError(f"{database} is not in this project and may serve others: run this where it lies")
    new = (database.parent / "mlruns").as_uri()
    with _database_errors(database), closing(sqlite3.connect(database)) as db, db:
        there = {table: _columns(db, table) for table, _ in _PLACES}
        found = db.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        # Its experiments' names or numbers may stand below it.
        old = sorted(
            {
                place[: place.index("/mlruns") + len("/mlruns")]
                for (place,) in found
                if place and _is_runs(place)
            }
            - {new}
        )
        for one in old:
            for table, column in _PLACES:
                if column in there[table]:
                    _replace(db, table, column, one, new)
    return [(one, new) for one in old]


@contextmanager
def _database_errors(database: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        way_out = "free some space" if "full" in str(error) else "restore a copy of it"
        raise ReidError(f"{database} cannot be changed ({error}): {way_out}; nothing was changed") from error


def _is_runs(place: str) -> bool:
    return "/mlruns" in place and (place.startswith("file:") or "://" not in place)


def _columns(db: sqlite3.Connection, table: str) -> Sequence[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def _replace(db: sqlite3.Connection, table: str, column: str, old: str, new: str) -> None:
    # Names of _PLACES and of nobody else.
    statement = (
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?"
    )
    db.execute(statement, (new, len(old) + 1, old, len(old) + 1, f"{old}/"))
