"""Folders of small images of noise."""

from pathlib import Path

import cv2
import numpy as np


def write_images(folder: Path, count: int, seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        path = folder / f"{number:04d}.png"
        cv2.imwrite(
            str(path), rng.integers(0, 256, (int(rng.integers(1, 40)), int(rng.integers(1, 30)), 3), np.uint8)
        )
        paths.append(path)
    return paths


def named_images(folder: Path, names: list[str], seed: int = 0) -> Path:
    for path, name in zip(write_images(folder, len(names), seed), names, strict=True):
        path.rename(folder / name)
    return folder
