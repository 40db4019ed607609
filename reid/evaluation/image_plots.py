"""Pictures made of pictures: ranked lists, hardest pairs, activation maps. Matplotlib and Pillow are loaded
on use.

Right and wrong are told by a mark and a frame's dash, not by colour alone. Every function returns an
alternative text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.errors import ReidError
from reid.evaluation.canvas import INK, RIGHT, WRONG, new_figure, save
from reid.evaluation.examples import HardPairs, ShownList

__all__ = ["plot_activation_maps", "plot_hardest_pairs", "plot_ranked_lists"]

_HEIGHT, _WIDTH = 256, 128  # pixels an image is shown at, padded where its shape differs
_TICK, _CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"


def plot_ranked_lists(lists: Sequence[ShownList], path: Path | str) -> str:
    """One line for each query: the query, then what it finds, nearest first, ticked or crossed, with the
    distance where it is given.

    Args:
        lists: for each query its image file and, nearest first, (image file, right or wrong) or (image file,
            right or wrong, distance);
            ``RankedList.shown`` gives them.
        path: of the picture.

    Raises:
        ReidError: there is nothing to draw, or an image cannot be read.
    """
    columns = max((len(results) for _, results in lists), default=0)
    if not columns:
        raise ReidError("there is no ranked list to draw: give at least one query with a gallery")
    figure, cells = _grid(len(lists), columns + 1, gap=1)
    for line, (query, results) in zip(cells, lists, strict=True):
        _show(line[0], query, "query", INK, "-")
        for cell, (image, right, *distance) in zip(line[1:], results, strict=False):
            mark, colour, dash = (_TICK, RIGHT, "-") if right else (_CROSS, WRONG, (0, (3, 1.5)))
            _show(cell, image, " ".join([mark, *(f"{value:.2f}" for value in distance)]), colour, dash)
    save(figure, path)
    flags = [[bool(result[1]) for result in results] for _, results in lists]
    first, hits, shown = sum(any(own[:1]) for own in flags), sum(map(sum, flags)), sum(map(len, flags))
    return (
        f"Ranked lists of {len(lists)} queries: the nearest image is right for {first}, and {hits} "
        f"of all {shown} images shown are."
    )


def plot_hardest_pairs(
    pairs: HardPairs, query_paths: Sequence[Path | str], gallery_paths: Sequence[Path | str], path: Path | str
) -> str:
    """Left the farthest pairs of one person, right the nearest pairs of two people, each with its distance.

    Raises:
        ReidError: there is no pair, or an image cannot be read.
    """
    height = max(len(pairs.genuine), len(pairs.impostors))
    if not height:
        raise ReidError("there is no pair to draw: give at least one")
    figure, cells = _grid(height, 4, gap=2)
    halves = ((0, pairs.genuine, pairs.genuine_distances, "same person", RIGHT, "-"),
              (2, pairs.impostors, pairs.impostor_distances, "two people", WRONG, (0, (3, 1.5))))  # fmt: skip
    for column, chosen, distances, words, colour, dash in halves:
        for line, (query, image), distance in zip(cells, chosen, distances, strict=False):
            _show(line[column], query_paths[query], words, colour, dash)
            _show(line[column + 1], gallery_paths[image], f"{distance:.2f}", colour, dash)
    save(figure, path)
    parts = []
    if len(pairs.genuine):
        parts.append(f"one person at distances up to {pairs.genuine_distances[0]:.2f}")
    if len(pairs.impostors):
        parts.append(f"two people at distances down to {pairs.impostor_distances[0]:.2f}")
    return f"Hardest pairs: {' and '.join(parts)}."


def plot_activation_maps(
    images: Sequence[npt.NDArray[np.uint8]], maps: Sequence[npt.NDArray[np.float32]], path: Path | str
) -> str:
    """Each image beside itself under its activation map, stretched to the image and scaled to its own
    maximum.

    Args:
        images: (H, W, 3) uint8 RGB each.
        maps: (h, w) each, not negative.
        path: of the picture.

    Raises:
        ReidError: there is no image, the counts differ, or a map is not a finite matrix.
    """
    if not len(images) or len(images) != len(maps):
        raise ReidError(
            f"{len(images)} images and {len(maps)} activation maps: give one map for each image, and "
            "at least one"
        )
    columns = min(len(images), 6)
    lines = -(-len(images) // columns)
    figure, cells = _grid(lines, 2 * columns)
    flat = [cell for line in cells for cell in line]
    for number, (image, activation) in enumerate(zip(images, maps, strict=True)):
        if activation.ndim != 2 or not np.isfinite(activation).all():
            raise ReidError(
                f"activation map {number} has shape {activation.shape} or is not finite: want a matrix"
            )
        padded = _pad(image)
        stretched = _pad(
            _stretch(activation / max(float(activation.max()), 1e-12), image.shape[:2]), fill=np.nan
        )
        for cell in flat[2 * number : 2 * number + 2]:
            cell.imshow(padded)
        flat[2 * number + 1].imshow(stretched, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    save(figure, path)
    return f"Activation maps of {len(images)} images."


def _grid(lines: int, columns: int, *, gap: int | None = None) -> tuple[Any, list[list[Any]]]:
    widths = [1.0] * columns
    if gap is not None:
        widths.insert(gap, 0.15)
    figure = new_figure(0.95 * sum(widths), 2.1 * lines)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
    axes = figure.subplots(lines, len(widths), squeeze=False, width_ratios=widths)
    for cell in axes.ravel():
        cell.set_axis_off()
    kept = [column for column in range(len(widths)) if column != gap]
    return figure, [[line[column] for column in kept] for line in axes]


def _show(cell: Any, path: Path | str, words: str, colour: str, dash: Any) -> None:
    cell.imshow(_pad(_read(path)))
    cell.set_axis_on()
    cell.set_xticks([])
    cell.set_yticks([])
    for spine in cell.spines.values():
        spine.set(color=colour, linewidth=2.2, linestyle=dash)
    cell.set_title(words, fontsize=8, color=colour, pad=3, fontweight="bold")


def _read(path: Path | str) -> npt.NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ReidError(f"image {path} cannot be read ({error}): check the catalog's paths") from error


def _pad(image: npt.NDArray[Any], fill: float = 255) -> npt.NDArray[Any]:
    """Scale to fit the cell, nothing cut off, and fill the rest."""
    scale = min(_HEIGHT / image.shape[0], _WIDTH / image.shape[1])
    height, width = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    resized = _stretch(image, (height, width))
    canvas = np.full((_HEIGHT, _WIDTH, *image.shape[2:]), fill, dtype=resized.dtype)
    top, left = (_HEIGHT - height) // 2, (_WIDTH - width) // 2
    canvas[top : top + height, left : left + width] = resized
    return canvas


def _stretch(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    from PIL import Image

    pixels = image if image.ndim == 3 else image.astype(np.float32)
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))
