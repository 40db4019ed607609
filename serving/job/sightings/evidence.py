"""What places and times say about two sightings of different cameras: one person, or two?

All of it is a log likelihood ratio, to be added to that of how alike they look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from serving.job.sightings.ground import Meeting, Passage, Track, meeting_of, passage_of
from serving.job.sightings.travel import Way, gaps_between

__all__ = ["IMPOSSIBLE", "Evidence"]

IMPOSSIBLE = -np.inf
# no place and no time is known so well that it alone decides
_LEAST, _MOST, _MOST_TOGETHER = -4.0, 3.0, 6.0
_SURELY = 3.0  # standard deviations beyond which two places are not one
_STEADY = 0.5  # of the error of a place: what is left of it between two moments, the rest is the floor's
_STRAYS = 0.4  # metres a second along each axis: how far from her line somebody unseen is who walks on
_WALKS = 1.0  # metres a second along each axis: somebody unseen walks at 1.4 in an unknown direction

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Of N sightings: their cameras, spans (N, 2) in seconds on one clock (NaN without one), and tracks.

    ``least_s``: seconds between two cameras at least; ``ways``: what was learned of the times between them;
    ``max_speed``: metres a second.
    """

    cameras: Sequence[str]
    spans: Floats
    tracks: Sequence[Track | None] = ()
    least_s: Mapping[frozenset[str], float] = field(default_factory=dict)
    ways: Mapping[frozenset[str], Way] = field(default_factory=dict)
    max_speed: float = 3.0

    def between(self, i: int, j: int) -> float:
        """How many times likelier it is that sightings ``i`` and ``j`` are one person, as a logarithm;
        :data:`IMPOSSIBLE` where they cannot be. Comparing with NaN is False: no clock forbids nothing.
        """
        apart_s = max(self.spans[i, 0] - self.spans[j, 1], self.spans[j, 0] - self.spans[i, 1])
        if self.cameras[i] == self.cameras[j]:
            return IMPOSSIBLE if apart_s <= 0 else 0.0
        pair = frozenset((self.cameras[i], self.cameras[j]))
        if apart_s < self.least_s.get(pair, -np.inf):
            return IMPOSSIBLE
        by_place = None if apart_s > self._reach_s else self._by_place(i, j)
        if by_place is not None and (by_place == IMPOSSIBLE or self.together(i, j)):
            return by_place
        by_time = None if pair in self.least_s else self._by_time(i, j)
        return by_time if by_time is not None else by_place or 0.0

    @cached_property
    def most(self) -> float:
        """The most that places and times can say for one person."""
        if any(one is not None for one in self.tracks):
            return _MOST_TOGETHER
        return _MOST if any(way.used for way in self.ways.values()) else 0.0

    def track(self, i: int) -> Track | None:
        """Where sighting ``i`` was; None where nobody knows."""
        return self.tracks[i] if i < len(self.tracks) else None

    def together(self, i: int, j: int) -> bool:
        """Whether both are on the ground at some moment."""
        one, other = self.track(i), self.track(j)
        return one is not None and other is not None and meeting_of(one, other) is not None

    def elsewhere(self, i: int, j: int) -> bool:
        """Whether the places of sightings of two cameras rule out that they are one person."""
        apart_s = max(self.spans[i, 0] - self.spans[j, 1], self.spans[j, 0] - self.spans[i, 1])
        return bool(apart_s <= self._reach_s) and self._by_place(i, j) == IMPOSSIBLE

    @cached_property
    def _reach_s(self) -> float:
        """After so long anybody may be anywhere on the ground."""
        if not len(self._places):
            return 0.0
        return float(np.linalg.norm(np.ptp(self._places, axis=0))) / self.max_speed

    def _by_place(self, i: int, j: int) -> float | None:
        one, other = self.track(i), self.track(j)
        if one is None or other is None:
            return None
        if (meeting := meeting_of(one, other)) is not None:
            return self._of_meeting(meeting)
        return self._of_passage(passage_of(one, other))

    def _of_meeting(self, meeting: Meeting) -> float:
        if meeting.apart > _SURELY * meeting.error:
            return IMPOSSIBLE
        # Somebody else may be anywhere on the ground that the cameras see, and walks where she wants to.
        variance = meeting.error**2
        place = np.log(self.ground_m2 / (2 * np.pi * variance)) - meeting.apart**2 / (2 * variance)
        own = (_STEADY * meeting.error) ** 2
        others = own + 2 * (_WALKS * meeting.seconds) ** 2
        walk = np.log(others / own) - meeting.drift**2 / 2 * (1 / own - 1 / others)
        return float(np.clip(place + walk, _LEAST, _MOST_TOGETHER))

    def _of_passage(self, way: Passage) -> float:
        if way.metres - _SURELY * way.error > self.max_speed * way.seconds:
            return IMPOSSIBLE
        # Half of the people walk on as they did, the others turn or stay; somebody else may be anywhere on
        # the ground.
        on = way.error**2 + (_STRAYS * way.seconds) ** 2
        else_where = way.error**2 + (_WALKS * way.seconds) ** 2
        density = sum(
            np.exp(-(off**2) / (2 * variance)) / (4 * np.pi * variance)
            for off, variance in ((way.missed, on), (way.metres, else_where))
        )
        ratio = np.log(max(density * self.ground_m2, 1e-9))
        # After a long time anybody may be anywhere: that says nothing, and not that it is somebody else.
        return float(np.clip(ratio, _LEAST if 2 * np.pi * else_where < self.ground_m2 else 0.0, _MOST))

    @cached_property
    def ground_m2(self) -> float:
        """How large the ground is on which people were seen, square metres."""
        if not len(self._places):
            return 1.0
        low, high = np.quantile(self._places, (0.05, 0.95), axis=0)
        return float(max(np.prod(np.maximum(high - low, 1.0)), 4.0))

    @cached_property
    def _places(self) -> Floats:
        parts = [one.xy for one in self.tracks if one is not None]
        return np.concatenate(parts) if parts else np.zeros((0, 2))

    def _by_time(self, i: int, j: int) -> float | None:
        way = self.ways.get(frozenset((self.cameras[i], self.cameras[j])))
        if way is None or not way.used:
            return None
        (gap_s,) = gaps_between(self.spans[i : i + 1], self.spans[j : j + 1])
        return float(np.clip(way.log_ratio(float(gap_s)), _LEAST, _MOST))
