"""Made-up embeddings of people whom the Euclidean distance does not tell apart."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Made", "hidden_people", "hidden_rings"]


@dataclass(frozen=True)
class Made:
    """Rows (N, D), people and cameras (N,)."""

    rows: np.ndarray
    people: np.ndarray
    cameras: np.ndarray

    def of(self, mask: np.ndarray) -> "Made":
        return Made(self.rows[mask], self.people[mask], self.cameras[mask])


def hidden_people(people: int = 60, cameras: int = 2, shots: int = 3, dim: int = 24, seed: int = 0) -> Made:
    """Who somebody is lies in six directions; in six others every camera and pose has its own large ones,
    which everybody shares. A random rotation hides which are which.
    """
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(np.random.default_rng(99).standard_normal((dim, dim)))[0]
    look = rng.standard_normal((people, 6))
    who, camera, _ = (axis.ravel() for axis in np.indices((people, cameras, shots)))
    rows = 0.05 * rng.standard_normal((len(who), dim))
    rows[:, :6] += look[who]
    rows[:, 6:12] += 4 * rng.standard_normal((len(who), 6))
    rows[:, 12] += 6
    return Made(rows @ rotation, who, camera)


def hidden_rings(people: int = 60, shots: int = 4, seed: int = 0) -> Made:
    """Who somebody is lies in the angle of a point in a plane, and the pictures of one person lie at opposite
    ends: twice the angle is what they share, which no linear map gives.
    """
    rng = np.random.default_rng(seed)
    who, shot = (axis.ravel() for axis in np.indices((people, shots)))
    angle = (
        (np.pi * np.arange(people) / people)[who] + np.pi * (shot % 2) + 0.005 * rng.standard_normal(len(who))
    )
    rows = np.stack([np.cos(angle), np.sin(angle), np.full(len(who), 0.2)], axis=1)
    return Made(rows, who, shot % 2)
