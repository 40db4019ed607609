"""The gate that every exported file passes: the trained model's answers against those of each installed
runtime.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.export.parity import (
    Accuracy,
    People,
    check_accuracy,
    check_parity,
    measure_accuracy,
    measure_parity,
)
from reid.export.precisions import GATED_BY
from reid.export.runners import installed_runners
from reid.models.embedder import EmbeddingModel
from reid.models.inference import embed_images

__all__ = ["Gate", "Limits"]


@dataclass(frozen=True)
class Limits:
    """What every file is held against.

    Attributes:
        cosine: the least one by precision; ``GATED_BY`` says whether of the lowest crop or of the mean.
        int8_lowest: the least cosine of int8's lowest crop.
        map_fall: how far mAP on validation people may fall below the trained model's, in 0..1.
    """

    cosine: Mapping[str, float]
    int8_lowest: float = 0.95
    map_fall: float = 0.005


class Gate:
    """Holds the trained model's own answers, made once.

    Args:
        model: the trained model.
        crops: held-out, uint8 ``(N, height, width, 3)``.
        names: of the crops.
        people: validation people, or None for no ranking.
        limits: for all precisions.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        crops: npt.NDArray[np.uint8],
        names: Sequence[str],
        people: People | None,
        limits: Limits,
    ) -> None:
        self._crops = crops
        self._names = names
        self._people = people
        self._limits = limits
        self._reference = embed_images(model, crops)
        self._accuracy: Accuracy | None = None
        if people is not None:
            self._accuracy = measure_accuracy(embed_images(model, people.images), people)

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
            parity = measure_parity(self._reference, run(path, self._crops), self._names)
            check_parity(parity, self._limits.cosine[precision], file, statistic=GATED_BY[precision])
            if precision == "int8":
                check_parity(parity, self._limits.int8_lowest, file, statistic="lowest")
            measured[name] = parity.as_dict()
            if self._people is not None and self._accuracy is not None:
                accuracy = measure_accuracy(run(path, self._people.images), self._people)
                check_accuracy(self._accuracy, accuracy, self._limits.map_fall, file, parity)
                measured[name] |= asdict(accuracy)
        return measured
