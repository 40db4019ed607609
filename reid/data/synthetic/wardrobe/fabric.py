"""Cloth painted flat: rows run down the body, columns around it."""

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.wardrobe.outfits import Colour, Fabric

__all__ = ["COLUMNS", "Floats", "clouds", "paint", "stamp"]

Floats = npt.NDArray[np.float32]
COLUMNS = 128
"""Of a texture: from the middle of the back over the person's right, front and left to the back again."""


def clouds(rng: np.random.Generator, rows: int, columns: int, cell: float) -> Floats:
    """Smooth noise (rows, columns) of mean 0 and standard deviation about 1, ``cell`` pixels coarse."""
    small = rng.normal(0, 1.4, (max(2, round(rows / cell)), max(2, round(columns / cell)))).astype(np.float32)
    return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC)


def paint(fabric: Fabric, rows: int, height: float, girth: float) -> Floats:
    """A piece of this cloth.

    Args:
        fabric: colours and pattern.
        rows: of the texture.
        height: of the piece, body heights.
        girth: around the body, body heights.

    Returns:
        (rows, COLUMNS, 3) RGB shares.
    """
    rng = np.random.default_rng(fabric.seed)
    y = (np.arange(rows, dtype=np.float32) + 0.5)[:, None] * (height / rows)
    x = (np.arange(COLUMNS, dtype=np.float32) + 0.5)[None] * (girth / COLUMNS)
    base, second, third = (np.array(c, np.float32) for c in (fabric.colour, fabric.second, fabric.third))
    out = np.broadcast_to(base, (rows, COLUMNS, 3)).copy()
    size, duty = fabric.size, 0.25 + 0.4 * float(rng.random())
    if fabric.pattern == "melange":
        out *= 1 + 0.1 * clouds(rng, rows, COLUMNS, 1.6)[..., None]
    elif fabric.pattern == "rings":
        out[((y / size) % 1 < duty)[:, 0]] = second
    elif fabric.pattern == "pinstripes":
        out[:, ((x / (0.7 * size)) % 1 < 0.3)[0]] = second
    elif fabric.pattern == "checks":
        weight = 0.5 * ((y / size) % 1 < 0.5) + 0.5 * ((x / size) % 1 < 0.5)
        out += weight[..., None].astype(np.float32) * (second - base)
    elif fabric.pattern == "plaid":
        broad = 0.4 * ((y / (2 * size)) % 1 < 0.45) + 0.4 * ((x / (2 * size)) % 1 < 0.45)
        fine = ((y / (2 * size)) % 1 > 0.88) | ((x / (2 * size)) % 1 > 0.88)
        out += broad[..., None].astype(np.float32) * (second - base)
        out[fine] = third
    elif fabric.pattern == "dots":
        place = np.hypot((y / size) % 1 - 0.5, (x / size + 0.5 * (np.floor(y / size) % 2)) % 1 - 0.5)
        out[place < 0.28] = second
    elif fabric.pattern in ("floral", "camouflage"):
        cell = rows * size / height * (0.5 if fabric.pattern == "floral" else 1.2)
        first, other = clouds(rng, rows, COLUMNS, cell), clouds(rng, rows, COLUMNS, cell)
        out[first > 0.5] = second
        out[other > 0.9] = third
    elif fabric.pattern == "fade":
        out += ((y / height) ** 1.5)[..., None] * (second - base)
    elif fabric.pattern == "halves":
        out[(y / height > 0.3 + 0.3 * duty)[:, 0]] = second
    elif fabric.pattern == "band":
        out[(np.abs(y / height - 0.35) < 0.04 + 0.12 * duty)[:, 0]] = second
    return out


def stamp(
    texture: Floats,
    kind: str,
    colours: tuple[Colour, Colour, Colour],
    centre: tuple[int, int],
    half: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """A print on a texture, in place: around row and column ``centre``, so many rows and columns each way."""
    row, column = centre
    if kind == "logo":
        half, column, row = (
            (max(2, half[0] // 4), max(2, half[1] // 3)),
            column + half[1] // 2,
            row - half[0] // 2,
        )
    top, left = max(row - half[0], 0), max(column - half[1], 0)
    place = texture[top : row + half[0], left : column + half[1]]
    rows, columns = place.shape[:2]
    if rows < 2 or columns < 2:
        return
    first, second, third = (np.array(c, np.float32) for c in colours)
    if kind == "text":
        lines = int(rng.integers(1, 5))
        for line in np.array_split(np.arange(rows), lines):
            letters = np.repeat(rng.random(columns // 2 + 1) < 0.72, 2)[:columns]
            letters &= np.abs(np.arange(columns) - columns / 2) < columns * rng.uniform(0.3, 0.5)
            body = line[: max(1, int(0.75 * len(line)))]
            place[np.ix_(body, np.flatnonzero(letters))] = first
    elif kind == "disc":
        y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
        place[np.hypot(y, x) < 1] = first
        place[np.hypot(y, x) < 0.6] = second
    elif kind == "panel":
        place[:] = first
    else:
        noise = clouds(rng, rows, columns, max(2.0, rows / 5))
        place[:] = first
        place[noise > 0.1] = second
        place[noise > 0.9] = third
