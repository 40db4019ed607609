"""When the files of a camera were begun: from their names, as recorders write them, or from what the files
say themselves.

Names have the clock of the recorder, without a zone; a number of seconds since 1970 and ``creation_time`` are
in UTC.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reid.errors import UsageError

__all__ = ["WAYS", "start_in_name", "starts_of"]

WAYS = ("auto", "name", "metadata", "none")
_DATE = r"(?<!\d)(?P<Y>(?:19|20)\d\d)[-_./ ]?(?P<m>0[1-9]|1[0-2])[-_./ ]?(?P<d>0[1-9]|[12]\d|3[01])"
_TIME = r"(?P<H>[01]\d|2[0-3])[-_.:hH]?(?P<M>[0-5]\d)[-_.:mM]?(?P<S>[0-5]\d)(?:[-_.,]?(?P<f>\d{3,6})(?!\d))?"
# 20260504_101500, 2026-05-04T10-15-00, VID_20260504_101500123, ch01_20260504101500_20260504102000,
# 192.168.1.64_01_20260504101500
_STAMP = re.compile(rf"{_DATE}[-_T .]{{0,3}}{_TIME}")
# 04-05-2026_10.15.00: the day first where a number is no month, and where it could be both
_DAY_FIRST = re.compile(
    rf"(?<!\d)(?P<d>0[1-9]|[12]\d|3[01])[-_.](?P<m>0[1-9]|1[0-2])[-_.](?P<Y>(?:19|20)\d\d)"
    rf"[-_T .]{{1,3}}{_TIME}"
)
# A number of its own: the serial number in cam1234567890_1 is none.
_EPOCH = re.compile(r"(?<![0-9A-Za-z])(1[0-9]{9})(?![0-9A-Za-z])")
_OLDEST = timedelta(days=3653)  # of a recording beside its file: other numbers of ten digits are no times
_FOLDER_DATE = re.compile(rf"{_DATE}(?=[/\\])")
# 10.15.00-10.20.00[M].dav, Rec-101500.mp4, in a folder of its day
_ALONE = re.compile(rf"^(?:[A-Za-z]*\d{{0,3}}[-_])?{_TIME}(?!\d)")
# recordings/2026-05-04/10/hall/15.00.mp4
_HOUR_FOLDER = re.compile(
    r"[/\\](?P<H>[01]\d|2[0-3])[/\\](?:[^/\\]+[/\\])?(?P<M>[0-5]\d)[-_.](?P<S>[0-5]\d)\.[A-Za-z]\w*$"
)


def start_in_name(path: str) -> datetime | None:
    """The time in a file's name and folders; None where there is none.

    Of a name with two times (from, to) it is the first.
    """
    name = Path(path).name
    for pattern in (_STAMP, _DAY_FIRST):
        if (found := pattern.search(name)) is not None and (start := _moment(found.groupdict())) is not None:
            return start
    if (found := _EPOCH.search(name)) is not None:
        moment = datetime.fromtimestamp(int(found[1]), UTC)
        if _written(path) - _OLDEST < moment < _written(path) + timedelta(days=1):
            return moment
    dates = list(_FOLDER_DATE.finditer(path))
    if not dates:
        return None
    for pattern, text in ((_HOUR_FOLDER, path), (_ALONE, name)):
        if (found := pattern.search(text)) is not None:
            return _moment(dates[-1].groupdict() | found.groupdict())
    return None


def _written(path: str) -> datetime:
    """When a file was last written; now where there is none."""
    try:
        return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    except (OSError, OverflowError, ValueError):
        return datetime.now(UTC)


def _moment(parts: dict[str, str | None]) -> datetime | None:
    try:
        moment = datetime(*(int(parts[key] or 0) for key in "YmdHMS"))  # type: ignore[arg-type]
    except ValueError:
        return None  # the 31st of April
    fraction = parts.get("f")
    return moment + timedelta(seconds=float(f"0.{fraction}")) if fraction else moment


def _by_pattern(path: str, pattern: str) -> datetime | None:
    """The time by a pattern of the job's own, as of ``strptime``, anywhere in the path."""
    fields = {
        "Y": r"\d{4}",
        "y": r"\d\d",
        "m": r"\d\d?",
        "d": r"\d\d?",
        "H": r"\d\d?",
        "M": r"\d\d?",
        "S": r"\d\d?",
        "f": r"\d{1,6}",
        "s": r"\d+",
    }
    parts = re.split(r"%(.)", pattern)
    plain = "".join(re.escape(part) if n % 2 == 0 else fields.get(part, "") for n, part in enumerate(parts))
    found = re.search(plain, path)
    if found is None:
        return None
    try:
        if pattern == "%s":
            return datetime.fromtimestamp(int(found[0]), UTC)
        return datetime.strptime(found[0], pattern)
    except (ValueError, OverflowError, OSError):
        return None


def starts_of(
    sources: Sequence[str], recorded: Sequence[datetime | None], way: str = "auto"
) -> tuple[list[datetime] | None, str]:
    """When each file was begun, and in words where that is from; None where the files say nothing, or not all
    of them, or several the same (then in words which).

    Args:
        sources: the files.
        recorded: what each says itself.
        way: ``auto``: names, else what the files say; ``name``; ``metadata``; ``none``; or a pattern as of
            ``strptime``.

    Raises:
        UsageError: the job asks for times that not all files have.
    """
    if way == "none":
        return None, ""
    tries: list[tuple[str, list[datetime | None]]] = []
    if way in ("auto", "name"):
        tries.append(("their names", [start_in_name(source) for source in sources]))
    if way in ("auto", "metadata"):
        tries.append(("what they say themselves", list(recorded)))
    if way not in WAYS:
        tries.append((f"their names by {way}", [_by_pattern(source, way) for source in sources]))
    doubt = ""
    for where, found in tries:
        starts = [start for start in found if start is not None]
        if len(starts) != len(sources) or len({start.tzinfo for start in starts}) != 1:
            continue
        # Parts of one recording carry the time at which all of it was begun: that is no time of each.
        if len(set(starts)) == len(starts):
            return starts, where
        same = f"several files have the time {max(starts, key=starts.count):%Y-%m-%d %H:%M:%S}"
        if way != "auto":
            raise UsageError(
                f"file_starts is {way!r}, but {same}: give a pattern that tells them apart, or none"
            )
        doubt = doubt or f"by {where} {same}"
    if way == "auto":
        return None, doubt
    where, found = tries[0]
    first = next(source for source, start in zip(sources, found, strict=True) if start is None)
    raise UsageError(
        f"file_starts is {way!r}, but {Path(first).name} has no such time: give a pattern like "
        "cam_%Y%m%d_%H%M%S, or none"
    )
