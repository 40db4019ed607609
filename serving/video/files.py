"""The files of a camera put in a row: each at its own time, gaps kept, overlaps cut, what cannot be used left
out and said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np

from reid.addresses import redacted
from reid.errors import ReidError
from serving.protocols import is_stream
from serving.video.ahead import STALL_S, Pulse, watched
from serving.video.footage import Clip, Footage
from serving.video.index import Index, index_of
from serving.video.live import first_look
from serving.video.order import GAP_S, in_words
from serving.video.starts import starts_of

__all__ = ["open_footage"]

_WHOLE_SECONDS_S = 2.0  # names round to seconds: files that overlap by less follow each other
_OVERLAP_S = 30.0  # that files of one recorder may have in common


@dataclass(frozen=True)
class _File:
    """A file and its index, or what is wrong with it; ``start`` is when it was begun, if that is known."""

    source: str
    index: Index | None
    problem: str = ""
    start: datetime | None = None


def open_footage(
    sources: Sequence[str], stall_s: float = STALL_S, fps: float | None = None, starts: str = "auto"
) -> Footage:
    """Index the files of a camera. A file that cannot be used is left out with a line in ``problems``.

    Args:
        sources: files in their order, or one address of a stream.
        stall_s: seconds without a sign of life until a file is given up.
        fps: frames a second where a file has no times (raw H.264, H.265, MJPEG); its own statement if None.
        starts: where the time at which each file was begun is from, see
            :func:`serving.video.starts.starts_of`.

    Raises:
        ReidError: no file of the camera can be used.
        UsageError: ``starts`` asks for what the files have not.
    """
    pulse = Pulse(stall_s)
    if is_stream(sources[0]):
        return _stream(sources[0], pulse, fps)
    files = [_indexed(source, pulse, fps) for source in sources]
    files, where = _in_order(_of_one_size(files), starts)
    if all(file.index is None for file in files):
        problems = [file.problem for file in files]
        raise ReidError(
            problems[0]
            if len(problems) == 1
            else f"none of {len(problems)} files can be used; the first: {problems[0]}"
        )
    return _row(files, where)


def _stream(source: str, pulse: Pulse, fps: float | None) -> Footage:
    pulse.name = redacted(source)
    index = watched(partial(first_look, source, pulse, fps), pulse)
    return Footage(
        (Clip(source, 1, 0.0, None),), index.fps, index.size.width, index.size.height, (), index.notes
    )


def _indexed(source: str, pulse: Pulse, fps: float | None) -> _File:
    pulse.name = redacted(source)
    try:
        return _File(source, watched(partial(index_of, source, pulse, fps), pulse))
    except ReidError as error:
        return _File(source, None, str(error))


def _of_one_size(files: Sequence[_File]) -> list[_File]:
    """Files of another size than the first are left out: boxes and regions of a camera are in pixels of one
    picture.
    """
    size = next((file.index.size for file in files if file.index is not None), None)
    kept = []
    for file in files:
        if size is None or file.index is None or file.index.size == size:
            kept.append(file)
            continue
        own = f"{file.index.size.width}x{file.index.size.height}"
        problem = (
            f"video {redacted(file.source)} is {own}, the files before it "
            f"{size.width}x{size.height}: make two cameras"
        )
        kept.append(_File(file.source, None, problem))
    return kept


def _in_order(files: Sequence[_File], way: str) -> tuple[list[_File], str]:
    """The files in order of their starts, where all that can be used have one; and where that is from."""
    usable = [file for file in files if file.index is not None]
    recorded = [None if file.index is None else file.index.recorded for file in usable]
    found, where = starts_of([file.source for file in usable], recorded, way) if usable else (None, "")
    if found is None:
        return list(files), where
    own = {file.source: start for file, start in zip(usable, found, strict=True)}
    for file in files:
        if (
            file.index is None
            and (start := starts_of([file.source], [None], way if way != "metadata" else "none")[0])
            is not None
        ):
            own[file.source] = start[0]
    dated = [_File(file.source, file.index, file.problem, own.get(file.source)) for file in files]
    zones = {file.start.tzinfo for file in dated if file.start is not None}
    if len(zones) > 1 or any(file.start is None for file in dated):
        return dated, where  # in the order given
    return sorted(dated, key=lambda file: file.start or datetime.min), where


def _row(files: Sequence[_File], where: str) -> Footage:
    clips: list[Clip] = []
    problems: list[str] = []
    notes: list[str] = []
    origin = next((file.start for file in files if file.index is not None), None)
    end_s, gaps_s, number = 0.0, [], 1
    for place, file in enumerate(files):
        if file.index is None:
            problems.append(file.problem + _hours(files, place))
            continue
        index = file.index
        own_s = (
            (file.start - origin).total_seconds() if file.start is not None and origin is not None else end_s
        )
        if clips and end_s - own_s > _WHOLE_SECONDS_S:
            double = int(np.searchsorted(index.times_s, end_s - own_s))
            cut_s = float(index.times_s[double - 1]) + 1.0 / index.fps
            line = (
                f"video {redacted(file.source)}: its first {double} frames are left out, for by its start "
                f"({file.start:%Y-%m-%d %H:%M:%S}) they are in the files before it"
            )
            # Recorders begin some seconds early. More than that are two recordings, or a start that is none.
            usual = cut_s <= _OVERLAP_S and double < len(index.times_s) / 2
            (notes if usual else problems).append(
                line if usual else f"{line}: with file_starts: none files follow each other"
            )
            if double == len(index.times_s):
                continue
            own_s += float(index.times_s[double])
            index = index.part(double)
        start_s = max(own_s, end_s)
        gaps_s += [start_s - end_s] if clips and start_s - end_s > GAP_S else []
        clips.append(Clip(file.source, number, start_s, index))
        number += len(index.times_s)
        end_s = start_s + float(index.times_s[-1]) + 1.0 / index.fps
        problems += [index.problem] if index.problem else []
        notes += index.notes
    if where and origin is None:
        notes.insert(0, f"the files follow each other: {where}")
    elif where:
        notes.insert(0, _starts_note(len(clips), where, origin, gaps_s))
    first = clips[0].index
    assert first is not None
    return Footage(
        tuple(clips), first.fps, first.size.width, first.size.height, tuple(problems), tuple(notes), origin
    )


def _hours(files: Sequence[_File], place: int) -> str:
    """From when to when a file is missing: until the next begins."""
    begin = files[place].start
    later = next((file.start for file in files[place + 1 :] if file.start is not None), None)
    if begin is None:
        return "; it is left out"
    return f"; {begin:%Y-%m-%d %H:%M:%S} to {f'{later:%H:%M:%S}' if later else 'its end'} is left out"


def _starts_note(count: int, where: str, origin: datetime | None, gaps_s: Sequence[float]) -> str:
    files = "the file's start is" if count == 1 else f"the starts of {count} files are"
    note = (
        f"{files} from {where.replace('their names', 'its name') if count == 1 else where}: "
        f"{origin:%Y-%m-%d %H:%M:%S}"
    )
    return f"{note}; {in_words(gaps_s)}" if gaps_s else note
