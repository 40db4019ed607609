"""The gate that every exported file passes: the trained model's answers against those of each installed runtime."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.export.parity import Accuracy, People, check_accuracy, check_parity, measure_accuracy, measure_parity
from reid.export.runners import installed_runners
from reid.models.embedder import EmbeddingModel
from reid.models.inference import embed_images

__all__ = ["Gate"]


class Gate:
    """Holds the trained model's own answers, made once.

    Args:
        model: the trained model.
        crops: held-out, uint8 ``(N, height, width, 3)``.
        names: of the crops.
        people: validation people, or None for no ranking.
        map_fall: how far mAP may fall, in 0..1.
    """

    def __init__(
        self, model: EmbeddingModel, crops: npt.NDArray[np.uint8], names: Sequence[str], people: People | None, map_fall: float
    ) -> None:
        self._crops = crops
        self._names = names
        self._people = people
        self._map_fall = map_fall
        self._reference = embed_images(model, crops)
        self._accuracy: Accuracy | None = None
        if people is not None:
            self._accuracy = measure_accuracy(embed_images(model, people.images), people)

    @property
    def trained(self) -> dict[str, float]:
        """Rank-1 and mAP of the trained model; empty without people."""
        return asdict(self._accuracy) if self._accuracy else {}

    def check(self, path: Path, limit: float, statistic: str) -> dict[str, dict[str, Any]]:
        """Run a file in every installed runtime.

        Args:
            path: an ONNX file.
            limit: the least cosine.
            statistic: ``lowest`` or ``mean``, what the limit is held against.

        Returns:
            By runtime: cosines, worst images and, with people, rank-1 and mAP.

        Raises:
            ReidError: the file strays in one of them; the message names file, runtime and the worst images.
        """
        measured: dict[str, dict[str, Any]] = {}
        for name, run in installed_runners().items():
            file = f"{path.name} in {name}"
            parity = measure_parity(self._reference, run(path, self._crops), self._names)
            check_parity(parity, limit, file, statistic=statistic)
            measured[name] = parity.as_dict()
            if self._people is not None and self._accuracy is not None:
                accuracy = measure_accuracy(run(path, self._people.images), self._people)
                check_accuracy(self._accuracy, accuracy, self._map_fall, file, parity)
                measured[name] |= asdict(accuracy)
        return measured
