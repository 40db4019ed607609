"""The commands that correct who is who in a gallery, and take people out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.shared import (
    BYTES_REMAIN,
    AsJson,
    GalleryPath,
    Name,
    echo,
    nothing_left,
    open_for_admin,
    print_warnings,
)

if TYPE_CHECKING:
    from serving.gallery import Removal
    from serving.job.afterwards.erasure import Forgotten

__all__ = ["expire", "merge", "promote", "remove", "rename", "retention", "split"]

Jobs = Annotated[
    list[Path] | None,
    typer.Option(
        "--in", help="Output folder of a finished job, in which the same is erased; may be given again."
    ),
]


def remove(gallery: GalleryPath, identity: Name, jobs: Jobs = None, as_json: AsJson = False) -> None:
    """Take a person out: the embeddings are erased from the file, with --in all that jobs keep of them."""
    from serving.job.afterwards.erasure import forget
    from serving.job.report.folders import distinct

    with open_for_admin(gallery) as opened:
        opened.show(identity)  # nothing is erased where nobody is called so
        # The jobs first: who is killed between the two can say the same again.
        forgotten = [forget(folder, [identity]) for folder in distinct(jobs or [])]
        _report_removal(opened.remove(identity), as_json, forgotten)


def expire(
    gallery: GalleryPath,
    now: Annotated[
        str | None, typer.Option(help="As if it were this moment, ISO 8601; UTC without a zone.")
    ] = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Take out references older than the gallery's retention time, and with --in the embeddings of jobs."""
    from datetime import UTC, datetime

    from reid.errors import UsageError
    from serving.job.afterwards.erasure import expire as expire_job
    from serving.job.report.folders import distinct

    try:
        moment = None if now is None else datetime.fromisoformat(now)
    except ValueError as error:
        raise UsageError(f"--now {now!r} is not a moment: write it like 2026-01-31T12:00") from error
    moment = datetime.now(UTC) if moment is None else moment
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    with open_for_admin(gallery) as opened:
        days = opened.retain_days
        if jobs and days is None:
            raise UsageError(
                f"gallery {gallery} keeps for ever: set its retention, or name days to reid forget"
            )
        expired = [expire_job(folder, days, moment) for folder in distinct(jobs or []) if days]
        _report_removal(opened.expire(moment), as_json, expired)


def rename(
    gallery: GalleryPath,
    identity: Name,
    new_name: Annotated[str, typer.Argument(help="What the person is called from now on.")],
    as_json: AsJson = False,
) -> None:
    """Give a person another name."""
    with open_for_admin(gallery) as opened:
        opened.rename(identity, new_name)
        echo(
            as_json,
            {"identity": new_name, "was": identity, "version": opened.version},
            f"{identity} is now {new_name}",
        )


def merge(
    gallery: GalleryPath,
    identity: Name,
    into: Annotated[str, typer.Argument(metavar="INTO", help="The person who takes the references.")],
    as_json: AsJson = False,
) -> None:
    """Two names are one person: give the first one's references to the second."""
    with open_for_admin(gallery) as opened:
        opened.merge(identity, into)
        echo(
            as_json,
            {"identity": into, "was": identity, "version": opened.version},
            f"{identity} is now part of {into}",
        )


def retention(
    gallery: GalleryPath,
    days: Annotated[str, typer.Argument(help="A number of days, or: forever", metavar="DAYS")],
    as_json: AsJson = False,
) -> None:
    """Set how long references are kept."""
    from reid.errors import UsageError

    if days != "forever" and not days.isdecimal():
        raise UsageError(f"retention {days!r} is not understood: give a number of days, or forever")
    limit = None if days == "forever" else int(days)
    with open_for_admin(gallery) as opened:
        opened.set_retention(limit)
        kept = "for ever" if limit is None else f"for {limit} days"
        echo(as_json, {"retain_days": limit, "version": opened.version}, f"references are kept {kept}")


def split(
    gallery: GalleryPath,
    identity: Name,
    into: Annotated[str, typer.Argument(metavar="INTO", help="The new person's name.")],
    reference: Annotated[
        list[int],
        typer.Option("--reference", help="Id of a reference that goes, as `reid gallery show` prints it."),
    ],
    as_json: AsJson = False,
) -> None:
    """One name is two people: give some references to a new person."""
    with open_for_admin(gallery) as opened:
        opened.split(identity, reference, into)
        value = {
            "identity": into,
            "was": identity,
            "references": len(set(reference)),
            "version": opened.version,
        }
    echo(as_json, value, f"{len(set(reference))} references of {identity} are now {into}")


def promote(
    gallery: GalleryPath,
    job: Annotated[Path, typer.Argument(help="The output folder of a finished job.", metavar="DIR")],
    who: Annotated[
        str, typer.Argument(help="unknown-NUMBER, or CAMERA:TRACKLET for one sighting.", metavar="WHO")
    ],
    identity: Name,
    as_json: AsJson = False,
) -> None:
    """Give an unknown person of a finished job a name; of a job without a gallery, one is made where none is
    there.
    """
    from serving.gallery import Gallery, key_from_environment
    from serving.job.afterwards.promotion import promote as enroll_stranger
    from serving.job.layout import open_job
    from serving.job.record import NamingRecord
    from serving.job.stranger_file import read_strangers

    strangers = read_strangers(job)
    new = open_job(job, NamingRecord).record.job.gallery is None
    with (
        nothing_left(gallery),
        Gallery.open(gallery, strangers.fingerprint, create=new, key=key_from_environment()) as opened,
    ):
        done = enroll_stranger(opened, strangers, who, identity)
    echo(as_json, asdict(done), f"{who} is now {done.identity}: {len(done.sightings)} references")
    print_warnings(done.warnings)


def _report_removal(removal: "Removal", as_json: bool, jobs: Sequence["Forgotten"]) -> None:
    count = sum(removal.removed.values())
    names = ", ".join(removal.removed)
    value = asdict(removal) | ({"jobs": [one.as_dict() for one in jobs]} if jobs else {})
    lines = [f"{count} references removed{f' ({names})' if names else ''}", *(one.line for one in jobs)]
    echo(as_json, value, "\n".join(lines))
    if not removal.purged:
        print_warnings([BYTES_REMAIN])
