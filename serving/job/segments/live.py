"""Live cameras of a job: each in a thread of its own, cut into segments by the time that passes, stored while
it runs.

As in recorded footage, a segment begins ``OVERLAP_S`` before the frames it owns. Frames are gone once they
are seen, so in that time two trackers follow the same people: the one of the segment that ends and the one of
the segment that begins.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reid.errors import ReidError
from reid.files import read_json
from serving.detection import build_detector, detect_in_order
from serving.job.layout import WorkFolder
from serving.job.segments.camera import CameraState
from serving.job.segments.segment import EMBED_BATCH, OVERLAP_S, Segment, SegmentResult, Work
from serving.runtime import Embedder
from serving.spec import Job
from serving.tracking import TrackletBuilder
from serving.video import Frame, Pulse, ahead, queue_length, read_frames

__all__ = ["LiveCameras", "StopRequested"]

_NOT_YET = 2**62  # the first frame of a segment that has not begun
_LIVE = "live"  # in a segment's counts


class StopRequested(BaseException):
    """Somebody asks the job to end."""


@dataclass
class _Part:
    """A segment in the making."""

    segment: Segment
    builder: TrackletBuilder
    work: Work


class _Line:
    """One live camera: its frames in, segments out."""

    def __init__(
        self,
        run: CameraState,
        job: Job,
        embedder: Embedder,
        segment_s: float,
        stored: Sequence[dict[str, Any]],
    ) -> None:
        assert run.footage is not None
        self.run, self.footage = run, run.footage
        self._job = job
        self._embedder = embedder
        self._segment_s = segment_s
        # A job that was killed and started again counts on from what it stored.
        self.index: int = stored[-1]["index"] + 1 if stored else 0
        self.number: int = stored[-1]["last"] if stored else 0
        self.started = datetime.fromisoformat(stored[0]["started"]) if stored else None
        self._shift_s = 0.0

    def segments(
        self, frames: Iterator[Frame], on_frame: Callable[[], None]
    ) -> Iterator[tuple[Segment, SegmentResult]]:
        """Work through the stream; each segment as it ends."""
        camera, job = self.run.camera, self._job
        detector = build_detector(job.detector, camera, job.threads)
        now: _Part | None = None
        then: _Part | None = None
        end_s, seconds = 0.0, dict[str, float]()
        numbered = self._counted(frames)
        for group, found in detect_in_order(
            numbered, detector, camera.region, queue_length(self.footage), seconds
        ):
            for frame, detections in zip(group, found, strict=True):
                if now is None:
                    now = self._begin(frame.number)
                    end_s = frame.time_s + self._segment_s
                    self._own(now, frame.number)
                if frame.time_s >= end_s and then is not None:
                    yield self._end(now, frame.number - 1, seconds, detector.others)
                    now = then
                    then = None
                    end_s = frame.time_s + self._segment_s
                    self._own(now, frame.number)
                elif frame.time_s >= end_s - OVERLAP_S and then is None:
                    then = self._begin(frame.number)
                for part in (now, then):
                    if part is not None:
                        part.work.take(part.builder.update(frame, detections))
                now.work.frames += 1
                now.work.looks.looked_at += 1
                last = frame.number
                on_frame()
            assert now is not None
            now.work.embed(EMBED_BATCH)
        if now is not None:
            yield self._end(now, last, seconds, detector.others)

    def _counted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Frames of the stream as frames of the job: every ``step``-th, numbers and times going on after what
        is stored.
        """
        step, before = self.run.camera.step, self.number
        for frame in frames:
            if self.started is None or (not self._shift_s and before):
                arrived = datetime.now(UTC) - timedelta(seconds=frame.time_s)
                self.started = self.started or arrived
                self._shift_s = max((arrived - self.started).total_seconds(), 1e-6)
            if (frame.number - 1) % step == 0:
                yield replace(
                    frame, number=before + frame.number, time_s=self._shift_s * bool(before) + frame.time_s
                )

    def _begin(self, number: int) -> _Part:
        job, camera = self._job, self.run.camera
        builder = TrackletBuilder(job.tracker, job.crops, self.footage.fps / camera.step)
        segment = Segment(camera.id, self.index, number, _NOT_YET, None)
        self.index += 1
        return _Part(segment, builder, Work(segment, self._embedder, builder.activation, None))

    @staticmethod
    def _own(part: _Part, number: int) -> None:
        part.segment = replace(part.segment, first=number)
        part.work.segment = part.segment

    def _end(
        self, part: _Part, last: int, seconds: dict[str, float], others: dict[str, int] | None
    ) -> tuple[Segment, SegmentResult]:
        segment = replace(part.segment, last=last)
        part.work.take(part.builder.finish())
        part.work.embed(1)
        part.work.seconds |= seconds
        seconds.clear()
        result = part.work.result(others)
        assert self.started is not None
        live = {
            "index": segment.index,
            "begin": segment.begin,
            "first": segment.first,
            "last": last,
            "started": self.started.isoformat(),
        }
        return segment, replace(result, counts=result.counts | {_LIVE: live})


class LiveCameras:
    """The live cameras of a job, at work from the moment this is made."""

    def __init__(
        self,
        runs: Sequence[CameraState],
        job: Job,
        embedder: Embedder,
        work: WorkFolder,
        segment_s: float,
        on_frame: Callable[[str], None],
    ) -> None:
        self._stop = threading.Event()
        self._work = work
        self._job = job
        self._on_frame = on_frame
        self._failed: list[BaseException] = []
        self._lines = [
            _Line(run, job, embedder, segment_s, self._take_up(run))
            for run in runs
            if run.footage and run.footage.live
        ]
        # Python 3.11 takes a thread for ended when a signal's handler raises while it is joined
        # (python/cpython issue 90882), and what the thread has still to store would be lost: so each says
        # itself that it has ended.
        self._ended = [threading.Event() for _ in self._lines]
        for line, ended in zip(self._lines, self._ended, strict=True):
            threading.Thread(target=self._work_through, args=(line, ended), daemon=True).start()
        if job.until is not None and self._lines:
            timer = threading.Timer(
                max(0.0, (job.until.astimezone() - datetime.now(UTC)).total_seconds()), self._stop.set
            )
            timer.daemon = True
            timer.start()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def stop(self) -> None:
        """Let all of them end with what they have seen."""
        self._stop.set()

    def join(self) -> None:
        """Wait until all have ended.

        Raises:
            BaseException: what none of the cameras is to blame for.
        """
        for ended in self._ended:
            while not ended.wait(0.2):
                pass  # in pieces, so that a signal is heard
        for line in self._lines:
            if line.started is not None and line.run.camera.start_time is None:
                line.run.camera = line.run.camera.model_copy(update={"start_time": line.started})
        if self._failed:
            raise self._failed[0]

    def _take_up(self, run: CameraState) -> list[dict[str, Any]]:
        """What an earlier run of this job stored of a camera, in order."""
        records = (
            read_json(folder.counts, "segment record") for folder in self._work.segments_of(run.camera.id)
        )
        stored = [live for record in records if (live := record.get(_LIVE)) is not None]
        run.segments = [
            Segment(run.camera.id, one["index"], one["begin"], one["first"], one["last"]) for one in stored
        ]
        return stored

    def _work_through(self, line: _Line, ended: threading.Event) -> None:
        run, job = line.run, self._job
        pulse = Pulse(job.stall_s, run.camera.reconnect_s, self._stop)
        first, last = run.camera.frames or (1, None)
        frames = _until(read_frames(line.footage, first, last, 1, pulse), job.max_s)
        frames = ahead(frames, queue_length(line.footage), pulse)
        try:
            for segment, result in line.segments(_said(frames, run), lambda: self._on_frame(run.camera.id)):
                result.store(self._work.segment(segment.name).path)
                run.segments.append(segment)
        except BaseException as error:  # noqa: BLE001 - raised again by join()
            self._failed.append(error)
        finally:
            run.problems += pulse.problems
            ended.set()


def _until(frames: Iterator[Frame], max_s: float | None) -> Iterator[Frame]:
    for frame in frames:
        if max_s is not None and frame.time_s >= max_s:
            return
        yield frame


def _said(frames: Iterator[Frame], run: CameraState) -> Iterator[Frame]:
    """The frames until the stream ends; why it broke off is the camera's problem and not the end of what was
    seen.
    """
    try:
        yield from frames
    except ReidError as error:
        run.problems.append(str(error))
