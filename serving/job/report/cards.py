"""A card for each sighting: its picture, the facts of it, and how sure its name is."""

from html import escape

from serving.gallery import UNKNOWN
from serving.job.layout import JobFolder
from serving.job.record import ShownRecord
from serving.job.report.axis import Axis, Row, anchor, data, kind, person, times
from serving.job.report.pictures import picture

__all__ = ["card"]

_SURE = 0.3  # from where on a decision counts as fully sure, as a distance


def card(row: Row, axis: Axis, record: ShownRecord, folder: JobFolder) -> str:
    """The card of one sighting."""
    lines = [
        ("camera", escape(row["camera"])),
        ("seen", times(row, axis)),
        ("frames", f"{row['frames']:,}"),
        *_decision(row, record),
    ]
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in lines)
    meter = '<p class="soft">nobody to compare with: the gallery is empty</p>'
    if _by_hand(row, record):
        meter = '<p class="soft">set by hand</p>'
    elif row["distance"] is not None:
        sure = min(row["certainty"] / _SURE, 1.0)
        meter = (
            f'<meter min="0" max="1" low="0.25" high="0.6" optimum="1" value="{sure:.2f}" '
            'aria-label="certainty"></meter>'
        )
    heading = f'<h3>{escape(person(row))} <span class="soft">#{row["tracklet"]}</span></h3>'
    buttons = f'{_watch(row, record, folder)}<button type="button" class="correct">Correct</button>'
    body = f'{heading}<dl>{facts}</dl>{meter}<div class="actions">{buttons}</div>'
    return (
        f'<article id="{anchor(row)}" class="{kind(row)}" {data(row, axis)} '
        f'data-certainty="{row["certainty"]:.4f}">{picture(row, folder.path)}<div>{body}</div></article>'
    )


def _decision(row: Row, record: ShownRecord) -> list[tuple[str, str]]:
    """How it came to the name, as HTML."""
    lines = []
    refused = row["identity"] == UNKNOWN or _by_hand(row, record)
    if row["distance"] is not None:
        whom = f"{row['nearest']} " if refused else ""
        lines.append(("nearest" if refused else "distance", escape(f"{whom}{row['distance']:.3f}")))
        lines.append(("limit", f"{row['threshold']:.3f}"))
    if row["runner_up"] and row["runner_up_distance"] is not None:
        lines.append(("runner-up", escape(f"{row['runner_up']} {row['runner_up_distance']:.3f}")))
        if row["identity"] == UNKNOWN and row["distance"] <= row["threshold"] and not record.job.rescore:
            lines.append(("why unknown", "the runner-up is nearly as near"))
    return lines


def _by_hand(row: Row, record: ShownRecord) -> bool:
    return f"{row['camera']}:{row['tracklet']}" in record.corrections.sightings


def _watch(row: Row, record: ShownRecord, folder: JobFolder) -> str:
    video = folder.video(row["camera"])
    if not video.is_file():
        return ""
    camera = record.counts.cameras.get(row["camera"])
    begin = (camera and camera.video_start_s) or 0.0
    at = max(row["start_s"] - begin, 0.0)
    return f'<a class="watch" href="{escape(video.name)}#t={at:.1f}">watch this moment</a>'
