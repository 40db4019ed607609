"""Places behind people: a ground, what rises at its far end, and things that stand about."""

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.synthetic.wardrobe.fabric import Floats, clouds

__all__ = ["Image", "paint_place", "paint_thing"]

Image = npt.NDArray[np.uint8]
_Rng = np.random.Generator
_GROUNDS = ("asphalt", "asphalt", "tiles", "tiles", "grass", "bricks", "leaves", "stripes", "floor", "floor")
_WALLS = ("plaster", "bricks", "hedge", "windows", "fence", "dark", "shutters", "ground")


def _muted(rng: _Rng, value: tuple[float, float], colourful: float = 0.25) -> Floats:
    hue, saturation = float(rng.random()), float(colourful * rng.random() ** 1.5)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, float(rng.uniform(*value))), np.float32)


def _grain(rng: _Rng, rows: int, columns: int, coarse: float, amount: float) -> Floats:
    noise = clouds(rng, rows, columns, coarse) + 0.7 * clouds(rng, rows, columns, max(1.2, coarse / 5))
    return np.asarray(1 + amount * noise, np.float32)[..., None]


def paint_place(rng: _Rng, height: int, width: int, base: int, unit: float, share: float) -> Image:
    """A place in front of which people are seen, (height, width, 3) uint8 RGB.

    Args:
        rng: what is there.
        height, width: pixels.
        base: the row where the ground ends.
        unit: pixels a body height.
        share: of structure; 0 gives two plain surfaces.
    """
    out = np.empty((height, width, 3), np.float32)
    out[:base] = _wall(rng, base, width, unit, share)
    out[base:] = _ground(rng, height - base, width, unit, share)
    out *= 1 + share * 0.12 * clouds(rng, height, width, 1.1 * unit)[..., None]
    if share > 0:
        if rng.random() < 0.4:  # light and shade lie on the ground
            shade = clouds(rng, height, width, float(rng.uniform(0.15, 0.9)) * unit)
            out[cv2.GaussianBlur((shade > 0.3).astype(np.float32), (0, 0), 2) > 0.5] *= float(
                rng.uniform(0.45, 0.8)
            )
        for _ in range(int(rng.poisson(5 * share))):
            paint_thing(rng, out, base, unit)
    return np.clip(255 * out, 0, 255).astype(np.uint8)


def _ground(rng: _Rng, rows: int, columns: int, unit: float, share: float) -> Floats:
    kind = _GROUNDS[int(rng.integers(len(_GROUNDS)))]
    tone = _muted(rng, (0.45, 1.1), 0.1)
    if kind in ("grass", "leaves"):
        tone = np.array((0.36, 0.38, 0.28), np.float32) * float(rng.uniform(0.6, 1.4))
    out = np.broadcast_to(tone, (rows, columns, 3)) * _grain(rng, rows, columns, 6.0, 0.06 * share)
    if not share:
        return out
    y = np.arange(rows, dtype=np.float32)[:, None] / unit
    x = (np.arange(columns, dtype=np.float32)[None] - columns / 2) / unit
    # Lines on the ground run together far away.
    near = 1 / (0.6 + 0.35 * y)
    if kind in ("tiles", "bricks", "stripes"):
        size = float(rng.uniform(0.18, 0.6))
        slant = float(rng.uniform(-0.5, 0.5))
        across, down = (x * near + slant * y) / size, y * near * 2.2 / size
        if kind == "stripes":
            out[np.broadcast_to((across * 0.6) % 1 < 0.45, out.shape[:2])] = _muted(rng, (0.5, 0.95))
        else:
            line = ((across + 0.5 * (np.floor(down) % 2) * (kind == "bricks")) % 1 < 0.08) | (down % 1 < 0.12)
            out[line] *= float(rng.choice((0.6, 0.75, 1.3)))
            out *= 1 + 0.1 * np.sin(np.floor(across) * 12.9 + np.floor(down) * 78.2)[..., None]
    elif kind in ("grass", "leaves"):
        out *= _grain(rng, rows, columns, 3.0, 0.12)
        if kind == "leaves":
            spots = clouds(rng, rows, columns, 2.5)
            out[spots > 1.0] = _muted(rng, (0.4, 0.8), 0.9)
            patch = np.clip(clouds(rng, rows, columns, 0.5 * unit), 0, 1)[..., None]
            out += patch * (np.array((0.42, 0.34, 0.26), np.float32) - out)
            out *= _grain(rng, rows, columns, 2.0, 0.15)
    else:
        out *= _grain(rng, rows, columns, 2.0, 0.07)
        for _ in range(int(rng.integers(0, 4))):
            ends = rng.integers(0, (columns, rows), (2, 2))
            _line(out, ends, _muted(rng, (0.3, 0.95), 0.6), int(rng.integers(1, 6)))
    return np.asarray(out, np.float32)


def _line(out: Floats, ends: npt.NDArray[np.int64], colour: Floats, thick: int) -> None:
    (x0, y0), (x1, y1) = ends.tolist()
    cv2.line(out, (x0, y0), (x1, y1), colour.tolist(), thick, cv2.LINE_AA)


def _wall(rng: _Rng, rows: int, columns: int, unit: float, share: float) -> Floats:
    kind = _WALLS[int(rng.integers(len(_WALLS)))]
    tone = _muted(rng, (0.2, 1.05), 0.22)
    if kind == "dark":
        tone = _muted(rng, (0.04, 0.2), 0.3)
    if kind == "hedge":
        tone = np.array((0.22, 0.28, 0.17), np.float32) * float(rng.uniform(0.6, 1.7))
    out = np.broadcast_to(tone, (rows, columns, 3)) * _grain(rng, rows, columns, 10.0, 0.05 * share)
    if not share:
        return out
    y = np.arange(rows, dtype=np.float32)[:, None] / unit
    x = np.arange(columns, dtype=np.float32)[None] / unit
    size = float(rng.uniform(0.05, 0.35))
    if kind == "bricks":
        line = ((x / size + 0.5 * (np.floor(2 * y / size) % 2)) % 1 < 0.08) | ((2 * y / size) % 1 < 0.14)
        out[line] *= 1.3
    elif kind == "hedge":
        out *= _grain(rng, rows, columns, 5.0, 0.3)
    elif kind == "windows":
        big = 0.4 + 2 * size
        pane = ((x / big) % 1 > 0.2) & ((y / (1.4 * big)) % 1 > 0.25)
        out[pane] = _muted(rng, (0.1, 0.8), 0.3)
    elif kind == "fence":
        out *= _grain(rng, rows, columns, 8.0, 0.25)
        bars = ((x / (0.4 * size)) % 1 < 0.25) | (np.abs((y / 0.5) % 1 - 0.5) < 0.03)
        out[bars & (y > y[-1] - 0.7)] = _muted(rng, (0.1, 0.8), 0.3)
    elif kind == "shutters":
        out *= 1 + 0.15 * np.sign(np.sin(2 * np.pi * y / (0.4 * size)))[..., None]
    elif kind == "ground":
        out *= _grain(rng, rows, columns, 2.0, 0.08)
    return np.asarray(out, np.float32)


def paint_thing(rng: _Rng, out: Floats, base: int, unit: float) -> None:
    """Something that stands about, in place: posts, boxes, signs, bushes, rails, cars."""
    width = out.shape[1]
    x, foot = int(rng.integers(width)), base + round(float(rng.uniform(-0.1, 0.9)) * unit)
    colour = _muted(rng, (0.05, 0.95), 0.7)
    kind = int(rng.integers(6))
    if kind == 0:  # post
        thick = max(1, round(float(rng.uniform(0.015, 0.09)) * unit))
        top = foot - round(float(rng.uniform(0.4, 2.5)) * unit)
        cv2.rectangle(out, (x, top), (x + thick, foot), colour.tolist(), -1)
    elif kind in (1, 2):  # box or sign
        w, h = (round(float(v) * unit) for v in rng.uniform((0.1, 0.08), (0.9, 0.7)))
        lift = round(float(rng.uniform(0, 1.2)) * unit) if kind == 2 else 0
        cv2.rectangle(out, (x, foot - h - lift), (x + w, foot - lift), colour.tolist(), -1)
        cv2.rectangle(out, (x, foot - h - lift), (x + w, foot - lift), (0.7 * colour).tolist(), 2)
        for _ in range(3 * (kind == 2)):
            line = foot - lift - int(rng.integers(1, h + 2))
            cv2.line(out, (x + 2, line), (x + max(3, w - 2), line), _muted(rng, (0.1, 0.95), 0.6).tolist(), 2)
    elif kind == 3:  # bush
        for _ in range(14):
            at = (
                x + round(float(rng.normal(0, 0.15)) * unit),
                foot - round(abs(float(rng.normal(0, 0.15))) * unit),
            )
            leaf = np.array((0.2, 0.32, 0.12)) * float(rng.uniform(0.4, 1.8))
            cv2.circle(out, at, max(1, round(float(rng.uniform(0.03, 0.09)) * unit)), leaf.tolist(), -1)
    elif kind == 4:  # rail
        thick = max(1, round(0.03 * unit))
        for bar in (0.25, 0.5):
            y = foot - round(bar * unit)
            cv2.line(out, (x, y), (x + 2 * round(unit), y), colour.tolist(), thick)
        for post in range(0, 2 * round(unit), max(2, round(0.45 * unit))):
            cv2.line(out, (x + post, foot), (x + post, foot - round(0.52 * unit)), colour.tolist(), thick)
    else:  # car
        w, h = round(1.6 * unit), round(0.4 * unit)
        cv2.rectangle(out, (x, foot - h), (x + w, foot - h // 4), colour.tolist(), -1)
        cv2.rectangle(
            out, (x + w // 5, foot - 2 * h + h // 4), (x + 4 * w // 5, foot - h), (0.25, 0.28, 0.3), -1
        )
        for wheel in (w // 5, 4 * w // 5):
            cv2.circle(out, (x + wheel, foot - h // 5), max(1, h // 4), (0.06, 0.06, 0.06), -1)
