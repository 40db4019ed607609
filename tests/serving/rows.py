"""Embeddings for tests: random ones, ones at an angle, and how many are readable in files."""

from pathlib import Path

import numpy as np

DAY = 86400.0


def unit_rows(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pieces_in_files(folder: Path, rows: np.ndarray) -> int:
    """How many rows have two neighbouring numbers of theirs in some file of the folder, at any offset."""
    pairs = np.stack([rows[:, :-1], rows[:, 1:]], axis=2).copy().view(np.uint64)[..., 0]
    content = b"".join(
        path.read_bytes() for path in sorted(path for path in folder.rglob("*") if path.is_file())
    )
    found = np.zeros(pairs.shape, np.bool_)
    for offset in range(8):
        found |= np.isin(
            pairs, np.frombuffer(content[offset : offset + (len(content) - offset) // 8 * 8], np.uint64)
        )
    return int(found.any(axis=1).sum())


def at_angle(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def chord(degrees: float) -> float:
    return 2 * np.sin(np.deg2rad(degrees) / 2)


REFERENCES = 4  # of each enrolment


DIM = 64


def rows_of(number: int) -> np.ndarray:
    rows = np.random.default_rng(number).standard_normal((REFERENCES, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
