"""A detector's file: opened by a runtime, its layout recognised, its input cut to the pictures."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.card import content_hash
from reid.errors import ReidError, UsageError
from reid.files import existing
from reid.processors import processors
from serving.detection.layouts import LAYOUTS, SIZES, Answer, Layout, recognised, said
from serving.detection.placing import Placed, blob_of, place
from serving.runtime import (
    NETWORKS,
    Network,
    Port,
    Timed,
    images_per_second,
    machine_facts,
    quickest,
    runtimes_for,
)

__all__ = ["DetectorModel", "open_model"]

Image = npt.NDArray[np.uint8]
_MULTIPLE = 32  # the coarsest stride
_FREE_SIZE = (640, 640)  # of a file that takes any, as most are trained
_BATCH = 4  # pictures of one inference, of files that take any number
_LEAST_COSINE = 0.999  # of all numbers of an output, between two runtimes
_CONFIDENCE = 0.02  # by which rows in order may differ between two runtimes


class DetectorModel:
    """A detector's network and its layout.

    Most footage is wider than it is high, and a third of a square input would be padding: the network is run
    on the smallest input that holds the picture, where its file allows that.

    Args:
        network: the opened file.
        path: of the file, for messages.
        backend: the runtime's name.
        layout: its name; None: recognised from names, shapes and types, and one answer to a grey picture.
        size: height and width of the input of a file that takes any.
        fit: False: the input always is of the file's own size.

    Attributes:
        layout: how answers are read.
        batch: pictures of one inference.
        at_once: inferences side by side.
        classes: how many the file has, None where it does not say.
        chosen: how ``auto`` came to the runtime, in one line; empty where it was named.

    Raises:
        UsageError: a size is given to a file that has its own.
        ReidError: the file is no detector of a known layout, or not of the one that was said.
    """

    def __init__(
        self,
        network: Network,
        path: Path,
        backend: str,
        layout: str | None = None,
        size: tuple[int, int] | None = None,
        fit: bool = True,
    ) -> None:
        self.path, self.backend, self.at_once = path, backend, network.at_once
        self.chosen = ""
        self._image, self._sizes = _inputs(path, network.inputs)
        self._last = self._image.shape[-1] == 3 and self._image.shape[1] != 3
        shape = self._image.shape[1:3] if self._last else self._image.shape[2:]
        self.size = _size(path, shape, size)
        self._free = None in shape
        self.fixed_batch = self._image.shape[0]
        self.batch = self.fixed_batch or _BATCH
        if self._free and not self._last:
            network = network.sized(*self.size)
        self._networks = {self.size: network}
        self._outputs = [port.name for port in network.outputs]
        answer = self._answer(network, self._grey(*self.size))
        found = recognised(answer) if layout is None else said(layout, answer)
        if found is None:
            raise ReidError(_unknown(path, network, layout, answer))
        self.layout, self.classes = found, found.classes(answer)
        if found.name == "ssd" and self.fixed_batch is None:
            self.batch = 1  # its one table would have to be cut by pictures that were not found in it
        self._fit = fit and found.pixels.place != "stretch" and not self._last
        self._lock = threading.Lock()

    def __str__(self) -> str:
        pixels = self.layout.pixels
        way = "stretched" if pixels.place == "stretch" else "letterboxed"
        outputs = ", ".join(self._outputs)
        return (
            f"detector {self.path.name}: layout {self.layout.name} (input {self._image}; outputs {outputs}), "
            f"{pixels.colour.upper()}, {way} to {self.size[0]}x{self.size[1]}, {self.backend}"
        )

    def answers(self, images: Sequence[Image]) -> list[tuple[Answer, int, Placed]]:
        """The network's answers to pictures of one size, at most ``batch``.

        Returns:
            For each picture the answer that it is in, its place in that, and where it lay in the input.
        """
        placed, network = self._fitting(*images[0].shape[:2])
        blob = blob_of(images, placed, self.layout.pixels, self._image.dtype)
        answer = self._answer(network, blob)
        return [(answer, index, placed) for index in range(len(images))]

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for pictures of that size."""
        placed, _ = self._fitting(height, width)
        return placed.height, placed.width

    def blob(self, images: Sequence[Image]) -> npt.NDArray[np.generic]:
        """The network's input (N, 3, height, width) for pictures (H, W, 3) uint8 BGR of one size."""
        placed, _ = self._fitting(*images[0].shape[:2])
        return blob_of(images, placed, self.layout.pixels, self._image.dtype)

    def infer(self, blob: npt.NDArray[np.generic]) -> Answer:
        """The network alone, on an input of :meth:`blob`."""
        return self._answer(self._networks[blob.shape[2], blob.shape[3]], blob)

    def _answer(self, network: Network, blob: npt.NDArray[np.generic]) -> Answer:
        count, (height, width) = len(blob), blob.shape[2:]
        if self.fixed_batch is not None and count < self.fixed_batch:
            blob = np.concatenate([blob, np.repeat(blob[-1:], self.fixed_batch - count, axis=0)])
        feeds: dict[str, npt.NDArray[Any]] = {
            self._image.name: np.ascontiguousarray(blob.transpose(0, 2, 3, 1)) if self._last else blob
        }
        if self._sizes is not None:
            feeds[self._sizes.name] = np.array([[width, height]] * len(blob), self._sizes.dtype)
        outputs = network.run([feeds[port.name] for port in network.inputs])
        whole = [one.astype(np.float32) if one.dtype == np.float16 else one for one in outputs]
        return Answer(dict(zip(self._outputs, whole, strict=True)), height, width, len(blob))

    def _fitting(self, height: int, width: int) -> tuple[Placed, Network]:
        way = self.layout.pixels.place
        whole = place((height, width), self.size, way)
        if not self._fit:
            return whole, self._networks[self.size]
        placed = place((height, width), self.size, way, _MULTIPLE)
        key = (placed.height, placed.width)
        with self._lock:  # several threads ask for the first frame's at one time
            if key not in self._networks:
                self._networks[key] = self._cut(*key) or self._networks[self.size]
            network = self._networks[key]
        return (whole if network is self._networks[self.size] and not self._free else placed), network

    def _cut(self, height: int, width: int) -> Network | None:
        """The network for a smaller input; None where the file's operators are written for one size."""
        if not self._free and self.layout.name != "yolox":
            return None  # others carry a table of their cells' places, which is of one size
        try:
            network = self._networks[self.size].sized(height, width)
            answer = self._answer(network, self._grey(height, width))
        except ReidError:
            return None
        return network if self.layout.fits(answer) else None

    def _grey(self, height: int, width: int) -> npt.NDArray[np.generic]:
        value = 114 if self._image.dtype == "uint8" else 0.45
        return np.full((self.fixed_batch or 1, 3, height, width), value, self._image.dtype)


def open_model(
    path: Path | str,
    layout: str | None = None,
    backend: str = "auto",
    size: tuple[int, int] | None = None,
    threads: int | None = None,
) -> DetectorModel:
    """Open a detector's file in the runtime named, or by ``auto`` in the fastest that agrees with the first.

    One that was opened before is given again while its file is the same.

    Args:
        path: ``.onnx``, ``.xml`` with its ``.bin`` beside it, or ``.plan``.
        layout: a key of ``LAYOUTS``; None: it is recognised.
        backend: ``auto`` or a key of ``NETWORKS``.
        size: height and width of the input of a file that takes any.
        threads: inferences side by side, a thread each; as many as there are processors where None.

    Raises:
        UsageError: the file is missing, or the runtime is unknown or cannot open such files here.
        ReidError: it cannot be opened, or is no detector of a known layout.
    """
    path = existing(path, "detector model")
    present = runtimes_for(path)
    if backend != "auto" and backend not in present:
        known = f"cannot open {path.name} here" if backend in NETWORKS else "is unknown"
        raise UsageError(f"detector.backend {backend!r} {known}: present for it: {', '.join(present)}")
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    stats = [file.stat() for file in files if file.is_file()]
    version = tuple((one.st_size, one.st_mtime_ns) for one in stats)
    names = tuple(present) if backend == "auto" else (backend,)
    return _opened(path, layout, names, size, threads or processors(), version)


# A job asks for it anew at each segment; two, as cameras of a job have one detector.
@lru_cache(maxsize=2)
def _opened(
    path: Path,
    layout: str | None,
    names: tuple[str, ...],
    size: tuple[int, int] | None,
    threads: int,
    version: tuple[tuple[int, int], ...],
) -> DetectorModel:
    def opened(name: str) -> DetectorModel:
        try:
            network = NETWORKS[name].open(path, threads)
        except ReidError as error:
            raise type(error)(f"detector model {error}") from error
        return DetectorModel(network, path, name, layout, size)

    if len(names) == 1:
        return opened(names[0])
    facts = machine_facts({name: NETWORKS[name].distribution for name in names}) | {
        "detector": content_hash(path),
        "layout": layout,
        "size": size,
        "side_by_side": threads,
    }
    candidates: dict[str, Callable[[], DetectorModel]] = {name: partial(opened, name) for name in names}
    return quickest(candidates, _disagreeing, _speeds, facts)


def _probe(model: DetectorModel) -> npt.NDArray[np.generic]:
    """Patches of colour, the same each time."""
    coarse = np.random.default_rng(0).integers(0, 256, (model.fixed_batch or 1, 12, 16, 3), np.uint8)
    return model.blob(list(coarse))


def _disagreeing(opened: Mapping[str, DetectorModel]) -> dict[str, str]:
    first, *others = opened
    reference = opened[first].infer(_probe(opened[first]))
    refused = {}
    for name in others:
        answer = opened[name].infer(_probe(opened[name]))
        problem = _difference(opened[first].layout, reference, answer)
        if problem:
            refused[name] = f"{problem} those of {first}"
    return refused


def _difference(layout: Layout, one: Answer, other: Answer) -> str:
    """How far two answers to one picture are from each other, where that is too far; else nothing."""
    if layout.ordered:
        # Rows that are nearly as sure may stand in another order, and numbers of rows differ: how sure the
        # surest are is compared.
        sure = [np.sort(layout.rows(answer, 0).scores)[::-1] for answer in (one, other)]
        count = min(len(rows) for rows in sure)
        apart = float(np.abs(sure[0][:count] - sure[1][:count]).max(initial=0))
        return f"its confidences are {apart:.3f} from" if apart > _CONFIDENCE else ""
    for name, values in one.outputs.items():
        a, b = (values.ravel().astype(np.float64), other.outputs[name].ravel().astype(np.float64))
        norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
        cosine = float(a @ b) / max(norms, 1e-12) if a.size == b.size else 0.0
        if cosine < _LEAST_COSINE and (a.any() or b.any()):
            return f"its answers have a cosine of {cosine:.4f} to"
    return ""


def _speeds(opened: Mapping[str, DetectorModel]) -> dict[str, float]:
    works = {}
    for name, model in opened.items():
        blob = _probe(model)
        works[name] = Timed(partial(model.infer, blob), model.at_once, len(blob))
    return images_per_second(works)


def _inputs(path: Path, ports: Sequence[Port]) -> tuple[Port, Port | None]:
    """The input of pictures, and that of sizes where there is one."""
    sizes = next((port for port in ports if port.name == SIZES), None)
    images = [port for port in ports if port is not sizes]
    if len(images) != 1:
        raise ReidError(
            f"detector model {path} has {len(ports)} inputs ({', '.join(map(str, ports))}): a detector has "
            f"one, the pictures, and {SIZES} where it is D-FINE's or RT-DETR's own"
        )
    (image,) = images
    shape = image.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ReidError(
            f"detector model {path} takes {image}: a detector takes pictures, [N, 3, height, width]"
        )
    if image.dtype not in ("float32", "float16", "uint8"):
        raise ReidError(
            f"detector model {path} takes {image}: want float32, float16 or uint8; export it again"
        )
    return image, sizes


def _size(path: Path, shape: Sequence[int | None], asked: tuple[int, int] | None) -> tuple[int, int]:
    height, width = (own or one for own, one in zip(shape, asked or _FREE_SIZE, strict=True))
    if asked is not None and (height, width) != asked:
        raise UsageError(f"detector model {path} takes {height}x{width}: leave detector.size out")
    return height, width


def _selects(answer: Answer) -> bool:
    """Whether outputs are those of TensorRT's or ONNX's NMS, or YOLOv7's rows with the picture's number."""
    names = [name.lower() for name in answer.outputs]
    rows = [one.shape for one in answer.outputs.values()]
    return any(name.startswith(("num_det", "selected", "nmsed")) for name in names) or (
        len(rows) == 1 and len(rows[0]) == 2 and rows[0][1] == 7
    )


def _unknown(path: Path, network: Network, layout: str | None, answer: Answer) -> str:
    given = ", ".join(f"{name} {list(one.shape)}" for name, one in answer.outputs.items())
    if layout is not None:
        other = recognised(answer)
        hint = f"; it looks like {other.name}" if other else ""
        return f"detector model {path} gives {given}, which is not the layout {layout}{hint}"
    if _selects(answer):
        return (
            f"detector model {path} gives {given}: its NMS is inside, and its answers have a form that is "
            "not known: export it without NMS, or with Ultralytics' nms=True"
        )
    embeds = all(one.ndim == 2 or set(one.shape[2:]) == {1} for one in answer.outputs.values())
    way_out = (
        "an embedder belongs under model"
        if embeds
        else f"say detector.layout, one of {', '.join(LAYOUTS)}, or export it as one of them"
    )
    return f"detector model {path} gives {given}, which no known layout of a detector has: {way_out}"
