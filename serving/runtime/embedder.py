"""The embedder: images of any sizes in, L2-normalised rows out, whatever runtime is underneath."""

from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Protocol

import numpy as np
import numpy.typing as npt

from reid.card import ModelCard
from reid.errors import ReidError
from serving.concurrency import map_ordered
from serving.runtime.preprocess import Batch, Image, Images, prepare

__all__ = ["CPU_BATCH", "Embedder", "Session"]

CPU_BATCH = 8  # images of one inference: the activations of many more leave the processor's caches


class Session(Protocol):
    """A model file opened by one runtime."""

    fixed_batch: int | None  # the only batch size the file takes, or None where any will do
    at_once: int  # calls of run that may work side by side
    batch: int  # images of a call that it does best with

    def run(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Outputs (N, ...) of a batch of N images."""
        ...


class Embedder:
    """Turns person crops into embeddings.

    Attributes:
        card: what the model is.
        backend: the runtime's name.
        precision: of the file that runs: fp32, fp16 or int8.
        fingerprint: of the embedding space; galleries and thresholds are bound to it.
        dim: D of the embeddings.
        at_once: how many inferences work side by side when several threads call :meth:`run`.
        batch: how many images of one inference are the quickest.
        chosen: how ``auto`` came to this runtime, in one line; empty where it was named.
    """

    def __init__(self, session: Session, card: ModelCard, backend: str, precision: str, source: str) -> None:
        self._session = session
        self._source = source
        self.card = card
        self.backend = backend
        self.precision = precision
        self.fingerprint = card.fingerprint
        self.dim = card.dim
        self.at_once = session.at_once
        # a part of a fixed batch costs as much as the whole
        self.batch = session.fixed_batch or session.batch
        self._turns = BoundedSemaphore(self.at_once)
        self.chosen = ""
        # One grey image through the whole path: what is wrong with file or card is known here and not in the
        # middle of a job.
        self.run(prepare([np.full((card.input.height, card.input.width, 3), 128, np.uint8)], card.input))

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        """Embed images.

        Args:
            images: (N, H, W, 3) uint8 RGB, or a list of (h, w, 3) uint8 RGB of any sizes.

        Returns:
            (N, D) float32, every row of Euclidean norm 1; (0, D) for no image.

        Raises:
            ReidError: an image is not uint8 RGB or has no pixel, or the model gives NaN; the message names
                the image.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4 and images.size:
            raise ReidError(
                f"images have shape {images.shape}: want (N, height, width, 3), or a list of (height, "
                "width, 3)"
            )
        starts = range(0, len(images), self.batch)

        def rows(start: int) -> npt.NDArray[np.float32]:
            return self.run(self.prepare(images[start : start + self.batch], start), start)

        if len(starts) < 2:
            return rows(0) if starts else np.empty((0, self.dim), np.float32)
        # One more than the inferences: it prepares a batch meanwhile.
        with ThreadPoolExecutor(self.at_once + 1) as pool:
            return np.concatenate(list(map_ordered(pool, rows, starts, 2 * self.at_once)))

    def prepare(self, images: Images | list[Image], first_index: int = 0) -> Batch:
        """The model's input for images; safe to call from other threads while :meth:`run` works."""
        return prepare(images, self.card.input, first_index)

    def run(self, batch: Batch, first_index: int = 0) -> npt.NDArray[np.float32]:
        """Embeddings (N, D) float32 of a prepared batch of any size; may be called by several threads.

        Raises:
            ReidError: the model's output is not (N, D), not finite, or not of norm 1 although the card says
                so.
        """
        fixed = self._session.fixed_batch
        with self._turns:
            if fixed is None:
                output = self._session.run(batch)
            else:
                pieces = (batch[start : start + fixed] for start in range(0, len(batch), fixed))
                output = np.concatenate(
                    [self._session.run(_padded(piece, fixed))[: len(piece)] for piece in pieces]
                )
        rows = np.asarray(output, np.float32).reshape(len(output), -1)
        if rows.shape != (len(batch), self.dim):
            shape = f"{self._source} gives an output of shape {output.shape} for {len(batch)} images"
            raise ReidError(f"{shape}: its card says dim {self.dim}; correct the card or export again")
        return self._normalised(rows, first_index)

    def _normalised(self, rows: npt.NDArray[np.float32], first_index: int) -> npt.NDArray[np.float32]:
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
        if bad.size:
            what = "zeros" if norms[bad[0]] == 0 else "NaN or infinity"
            raise ReidError(
                f"{self._source} gives {what} for image {first_index + bad[0]}: export the model again"
            )
        if self.card.normalised and np.abs(norms - 1).max() > 0.01:
            wrong = int(np.abs(norms - 1).argmax())
            raise ReidError(
                f"{self._source} gives a row of norm {norms[wrong]:.4g} for image "
                f"{first_index + wrong} but its card says normalised: "
                'set "normalised": false in model.json or export the model again'
            )
        # Also where the graph normalises: fp16 and int8 files leave norms that are off in the third digit.
        return (rows / norms[:, None]).astype(np.float32)


def _padded(batch: Batch, count: int) -> Batch:
    if len(batch) == count:
        return batch
    return np.concatenate([batch, np.repeat(batch[-1:], count - len(batch), axis=0)])
