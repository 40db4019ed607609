"""Footage with MOTChallenge truth, cut into crops: sequences of frames or videos in, image files and records
out.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from reid.data.catalog import Record, readable
from reid.data.datasets.files import is_by_system, walk
from reid.errors import ReidError, UsageError
from reid.files import atomic_directory
from reid.mot import PEDESTRIAN, mot_rows
from reid.video_files import is_video

__all__ = ["Cut", "Sequence", "cut_footage", "find_sequences"]

Image = npt.NDArray[np.uint8]
_MOT17_COPY = re.compile(r"-(DPM|FRCNN|SDP)$")


@dataclass(frozen=True, slots=True)
class _Box:
    person: int
    xyxy: tuple[int, int, int, int]


@dataclass
class Cut:
    """What was cut: the records, and how many boxes were left out and why; cut + left out = boxes of the
    truth.
    """

    records: list[Record] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    copies: dict[str, int] = field(default_factory=dict)  # further copies of a sequence, which were not cut


@dataclass(frozen=True, order=True, slots=True)
class Sequence:
    """Frames (a folder or a video) with their truth; ``copies`` are the names under which the same sequence
    lies there as well.
    """

    name: str
    frames: Path
    truth: Path
    copies: tuple[str, ...] = ()


def find_sequences(root: Path) -> list[Sequence]:
    """The sequences below ``root``, sorted, linked folders included.

    A sequence is a folder with ``img1`` and ``gt/gt.txt`` (Milan et al. 2016), or a video with a truth of its
    name (``camera1.webm``, ``camera1.txt``) or, alone in its folder, with ``gt.txt``. MOT17 has each of its
    sequences three times, with the detections of DPM, FRCNN and SDP beside the same frames and truth: they
    are one. Sequences of one name in different folders carry their folders' names.

    Raises:
        UsageError: there is none.
    """
    files = [path for path in walk(root) if is_by_system(path.relative_to(root)) is None]
    found = [
        (truth.parents[1], truth.parents[1] / "img1", truth)
        for truth in files
        if truth.parts[-2:] == ("gt", "gt.txt") and (truth.parents[1] / "img1").is_dir()
    ]
    videos = [path for path in files if is_video(path)]
    per_folder = Counter(video.parent for video in videos)
    for video in videos:
        truth = video.with_suffix(".txt")
        truth = video.parent / "gt.txt" if per_folder[video.parent] == 1 and not truth.exists() else truth
        if truth.exists():
            found.append((video.with_suffix(""), video, truth))
    if not found:
        raise UsageError(
            f"{root} holds no footage with truth: want SEQUENCE/img1 with SEQUENCE/gt/gt.txt, or "
            "camera1.mp4 with camera1.txt"
        )
    return sorted(_named(root, _without_copies(found)))


def _without_copies(found: list[tuple[Path, Path, Path]]) -> list[tuple[Path, Path, Path, tuple[str, ...]]]:
    """(place, frames, truth, copies): of MOT17's three copies in one folder the first, under the name that
    they share.
    """
    groups: dict[Path, list[tuple[Path, Path, Path]]] = defaultdict(list)
    for one in sorted(found):
        groups[one[0].with_name(_MOT17_COPY.sub("", one[0].name))].append(one)
    kept: list[tuple[Path, Path, Path, tuple[str, ...]]] = []
    for place, (first, *others) in groups.items():
        copies = [other for other in others if other[2].read_bytes() == first[2].read_bytes()]
        kept.append((place, first[1], first[2], tuple(other[0].name for other in copies)))
        kept += [(*other, ()) for other in others if other not in copies]
    return kept


def _named(root: Path, found: list[tuple[Path, Path, Path, tuple[str, ...]]]) -> list[Sequence]:
    """Named by the last part of the place, or by all of it below ``root`` where several have the same last
    part.
    """
    names = Counter(place.name for place, *_ in found)
    return [
        Sequence(
            readable(place.name if names[place.name] == 1 else "_".join(place.relative_to(root).parts)),
            frames,
            truth,
            copies,
        )
        for place, frames, truth, copies in found
    ]


def cut_footage(
    root: Path,
    out: Path,
    *,
    every: int,
    min_height: int,
    min_visibility: float,
    shared_identities: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Cut:
    """Cut the boxes of every ``every``-th frame into ``out``, as ``SEQUENCE_0007_000031.jpg``.

    Args:
        root: see :func:`find_sequences`.
        out: a folder, replaced whole.
        every: frames between two that are cut.
        min_height: pixels; lower boxes are left out, after clipping to the image.
        min_visibility: where the truth tells it (MOT16 and later).
        shared_identities: the same number is the same person in every sequence; otherwise each sequence has
            people of its own.
        progress: called with sequences done, and how many there are.

    Raises:
        UsageError: there is no footage.
        ReidError: a truth cannot be parsed, or a frame of it is missing.
    """
    cut = Cut()
    sequences = find_sequences(root)
    with atomic_directory(out, private=True) as temporary:
        for done, sequence in enumerate(sequences, 1):
            name = sequence.name
            if sequence.copies:
                cut.copies[name] = len(sequence.copies)
            boxes = _boxes(sequence.truth, every, min_visibility, cut.left_out)
            for number, image in _frames(sequence.frames, sorted(boxes)):
                for box in boxes[number]:
                    part = _inside(image, box.xyxy)
                    if part.shape[0] < min_height or not part.size:
                        cut.left_out["lower than data.footage.min_height"] += 1
                        continue
                    file = f"{name}_{box.person:04d}_{number:06d}.jpg"
                    cv2.imwrite(str(temporary / file), part, [cv2.IMWRITE_JPEG_QUALITY, 95])
                    identity = f"{box.person:04d}" if shared_identities else f"{name}_{box.person:04d}"
                    cut.records.append(
                        Record(out / file, identity, name, "train", number, f"{name}_{box.person:04d}")
                    )
            if progress is not None:
                progress(done, len(sequences))
    return cut


def _inside(image: Image, xyxy: tuple[int, int, int, int]) -> Image:
    """The part of a frame inside a box; empty where the box is outside.

    Not ``serving.tracking.cut``, which takes every pixel that a box touches and at least one: a truth's boxes
    are rounded here, and the hashes of the catalogs made so far hang on those pixels.
    """
    x0, y0, x1, y1 = (max(edge, 0) for edge in xyxy)
    return image[y0:y1, x0:x1]


def _boxes(path: Path, every: int, min_visibility: float, left_out: Counter[str]) -> dict[int, list[_Box]]:
    """The boxes of a truth that are to be cut, by frame number."""
    boxes: dict[int, list[_Box]] = defaultdict(list)
    for frame, person, x, y, width, height, flag, kind, visibility in mot_rows(path).tolist():
        if flag == 0 or kind != PEDESTRIAN:
            left_out["not a pedestrian to be counted"] += 1
        elif (int(frame) - 1) % every:
            left_out["between the frames of data.footage.every"] += 1
        elif visibility < min_visibility:
            left_out["less visible than data.footage.min_visibility"] += 1
        else:
            boxes[int(frame)].append(
                _Box(int(person), (round(x), round(y), round(x + width), round(y + height)))
            )
    return boxes


def _frames(source: Path, numbers: list[int]) -> Iterator[tuple[int, Image]]:
    """The wanted frames (numbered from 1) of a folder or a video, BGR."""
    if source.is_dir():
        files = {int(path.stem): path for path in source.iterdir() if path.stem.isdigit()}
        for number in numbers:
            image = cv2.imread(str(files[number])) if number in files else None
            if image is None:
                raise ReidError(
                    f"{source} has no readable frame {number}, which its truth names: unpack the "
                    "sequence again"
                )
            yield number, image
        return
    capture = cv2.VideoCapture(str(source))
    wanted = set(numbers)
    number = 0
    while number < max(wanted, default=0):
        number += 1
        if not capture.grab():
            raise ReidError(
                f"{source} ends before frame {number}, but its truth goes on to {max(wanted)}: get the "
                "video again"
            )
        if number in wanted:
            yield number, capture.retrieve()[1]
    capture.release()
