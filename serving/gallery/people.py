"""What happens to people after their enrolment: another name, two that are one, one that is two, and leaving.

Every function is one change of a gallery, described at the method of :class:`serving.gallery.Gallery` that
has its name.
"""

from collections.abc import Sequence

from reid.errors import ReidError, UsageError
from serving.gallery.checks import check_name
from serving.gallery.database.queries import Removal, older_than
from serving.gallery.database.store import Change, Store

__all__ = ["expire", "merge", "merge_in", "remove", "rename", "rename_in", "split"]

_DAY_S = 86400.0


def rename(store: Store, identity: str, new_name: str) -> None:
    """Another name."""
    with store.writing() as change:
        rename_in(store, change, identity, new_name)


def rename_in(store: Store, change: Change, identity: str, new_name: str) -> None:
    """Another name, as a part of a change under way."""
    new_name = check_name(new_name)
    person, identity = store.person(change.db, identity)
    _refuse_taken(store, change, new_name)
    change.db.execute("UPDATE people SET name = ? WHERE id = ?", (new_name, person))
    change.rewrites = True
    change.log("rename", identity, f"to {new_name}")


def merge(store: Store, identity: str, into: str) -> None:
    """Two names are one person."""
    with store.writing() as change:
        merge_in(store, change, identity, into)


def merge_in(store: Store, change: Change, identity: str, into: str) -> None:
    """Two names are one person, as a part of a change under way."""
    person, identity = store.person(change.db, identity)
    target, into = store.person(change.db, into)
    if person == target:
        raise UsageError(f"{identity!r} cannot be merged into itself: name two people")
    change.db.execute("UPDATE refs SET person_id = ? WHERE person_id = ?", (target, person))
    change.db.execute("DELETE FROM people WHERE id = ?", (person,))
    change.rewrites = True
    change.log("merge", identity, f"into {into}")


def split(store: Store, identity: str, references: Sequence[int], into: str) -> None:
    """One name is two people."""
    into = check_name(into)
    wanted = set(references)
    with store.writing() as change:
        db = change.db
        person, identity = store.person(db, identity)
        _refuse_taken(store, change, into)
        pairs = db.execute(
            "SELECT r.id, (SELECT coalesce(r.twin, max(t.id)) FROM refs t WHERE t.twin = r.id) FROM refs r "
            "JOIN models m ON m.id = r.model_id AND m.active = 1 WHERE r.person_id = ?",
            (person,),
        ).fetchall()
        theirs = {key for key, _ in pairs}
        if not wanted or wanted - theirs:
            wrong = (
                f"has no reference {min(wanted - theirs)}"
                if wanted
                else "keeps all references: none was named"
            )
            raise ReidError(f"{identity!r} {wrong}: see `reid gallery show {store.path} '{identity}'`")
        if wanted == theirs:
            raise ReidError(f"all references of {identity!r} would leave: rename the person, or name fewer")
        row = db.execute("SELECT enrolled_at FROM people WHERE id = ?", (person,)).fetchone()
        new = db.execute("INSERT INTO people (name, enrolled_at) VALUES (?, ?)", (into, row[0])).lastrowid
        moving = [(new, one) for pair in pairs if pair[0] in wanted for one in pair if one is not None]
        db.executemany("UPDATE refs SET person_id = ? WHERE id = ?", moving)
        change.rewrites = True
        change.log("split", identity, f"{len(wanted)} references to {into}")


def remove(store: Store, identity: str) -> Removal:
    """Take a person out."""
    with store.writing() as change:
        person, identity = store.person(change.db, identity)
        # Of a reference embedded by two models, one row names the other as its twin.
        count = change.db.execute(
            "SELECT count(*) FROM refs WHERE person_id = ? AND twin IS NULL", (person,)
        ).fetchone()[0]
        change.db.execute("DELETE FROM people WHERE id = ?", (person,))
        change.rewrites = change.leaves_bytes = True
        change.log("remove", identity, f"{count} references")
    return Removal({identity: count}, store.purge())


def expire(store: Store, moment: float) -> Removal:
    """Take out what is too old; ``moment`` in seconds since 1970."""
    with store.writing() as change:
        days = store.meta(change.db, "retain_days")
        limit = float("-inf") if days is None else moment - days * _DAY_S
        removed = older_than(change.db, limit)
        if removed:
            change.db.execute("DELETE FROM refs WHERE taken_at < ?", (limit,))
            change.db.execute("DELETE FROM people WHERE id NOT IN (SELECT person_id FROM refs)")
            change.rewrites = change.leaves_bytes = True
        for identity, count in removed.items():
            change.log("expire", identity, f"{count} references older than {days} days")
    return Removal(removed, store.purge())


def _refuse_taken(store: Store, change: Change, name: str) -> None:
    if change.db.execute("SELECT 1 FROM people WHERE name = ?", (name,)).fetchone():
        raise ReidError(f"gallery {store.path} has {name!r} already: merge the two if they are one person")
