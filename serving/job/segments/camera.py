"""A camera while a job works on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.job.segments.segment import Segment, frames_of
from serving.spec import Camera
from serving.video import Footage

__all__ = ["CameraState", "note_lines", "problem_lines"]


@dataclass
class CameraState:
    """A camera of a running job: its footage, its segments, and what went wrong."""

    camera: Camera
    footage: Footage | None = None
    segments: list[Segment] = field(default_factory=list)
    warm_up: int = 0  # frames that its detector sees before those of a segment
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was decided about its footage
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by segment name

    @property
    def total(self) -> int:
        """Frames to look at; 0 for a stream."""
        return (
            0
            if self.footage is None
            else sum(frames_of(one, self.camera, self.footage) for one in self.segments)
        )


def problem_lines(runs: Sequence[CameraState]) -> list[str]:
    """One line for each thing that is missing or incomplete, with its camera."""
    return [f"camera {run.camera.id}: {problem}" for run in runs for problem in run.problems]


def note_lines(runs: Sequence[CameraState]) -> list[str]:
    """One line for each thing that was decided about a camera's footage."""
    return [f"camera {run.camera.id}: {note}" for run in runs for note in run.notes]
