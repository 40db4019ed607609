"""The gate that every exported file passes: the trained model's answers against those of each installed
runtime.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.export.runners import installed_runners
from reid.linear_metric import FittedMetric
from reid.models.embedder import EmbeddingModel
from reid.models.inference import embed_images
from reid.parity import Accuracy, Limits, People, check_accuracy, hold_against, measure_accuracy

__all__ = ["Gate"]


class Gate:
    """Holds the trained model's own answers, made once.

    Args:
        model: the trained model.
        crops: held-out, uint8 ``(N, height, width, 3)``.
        names: of the crops.
        people: validation people, or None for no ranking.
        limits: for all precisions.
        metric: fitted to the model's embeddings, which a file has folded in; None for the model as it is.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        crops: npt.NDArray[np.uint8],
        names: Sequence[str],
        people: People | None,
        limits: Limits,
        metric: FittedMetric | None = None,
    ) -> None:
        self._crops = crops
        self._names = names
        self._people = people
        self._limits = limits

        def embed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            rows = embed_images(model, images)
            return rows if metric is None else metric.apply(rows)

        self._reference = embed(crops)
        self._accuracy: Accuracy | None = None
        if people is not None:
            self._accuracy = measure_accuracy(embed(people.images), people)

    @property
    def trained(self) -> dict[str, float]:
        """Rank-1 and mAP of the trained model; empty without people."""
        return asdict(self._accuracy) if self._accuracy else {}

    def check(self, path: Path, precision: str) -> dict[str, dict[str, Any]]:
        """Run a file in every installed runtime.

        Args:
            path: an ONNX file.
            precision: whose limits hold.

        Returns:
            By runtime: cosines, worst images and, with people, rank-1 and mAP.

        Raises:
            ReidError: the file strays in one of them; the message names file, runtime and the worst images.
        """
        measured: dict[str, dict[str, Any]] = {}
        for name, run in installed_runners().items():
            file = f"{path.name} in {name}"
            parity = hold_against(
                self._reference, run(path, self._crops), self._names, precision, self._limits, file
            )
            measured[name] = parity.as_dict()
            if self._people is not None and self._accuracy is not None:
                accuracy = measure_accuracy(run(path, self._people.images), self._people)
                check_accuracy(self._accuracy, accuracy, self._limits.map_fall, file, parity)
                measured[name] |= asdict(accuracy)
        return measured
