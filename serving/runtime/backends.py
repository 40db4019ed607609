"""The runtimes: which there are, what each opens, and whether this machine has it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reid.card import ModelCard
from reid.engine_stamp import current_gpu
from serving.runtime.embedder import Session

__all__ = ["BACKENDS", "PRECISIONS", "Backend", "present_backends"]

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Backend:
    """A runtime.

    Attributes:
        open: ``(path, card, precision, threads)`` to a session.
        roles: of the card's files that it can run at a precision, best first.
        present: whether this machine has it.
        distribution: its name in the package index.
    """

    open: Callable[[Path, ModelCard, str, int], Session]
    roles: Callable[[str], tuple[str, ...]]
    present: Callable[[], bool]
    distribution: str

    def role(self, card: ModelCard, precision: str) -> str | None:
        """Of the card's files, the best that it runs at this precision; None where there is none."""
        return next((role for role in self.roles(precision) if role in card.files), None)


def _onnxruntime(path: Path, card: ModelCard, precision: str, threads: int) -> Session:
    from serving.runtime.onnx import OnnxSession

    return OnnxSession(path, card.input, threads)


def _openvino(path: Path, card: ModelCard, precision: str, threads: int) -> Session:
    from serving.runtime.openvino import OpenVinoSession

    return OpenVinoSession(path, card.input, threads)


def _tensorrt(path: Path, card: ModelCard, precision: str, threads: int) -> Session:
    from serving.runtime.tensorrt import open_engine

    return open_engine(path, card, precision)


# The first that can open a model is what "auto" holds the others against.
BACKENDS = {
    "onnxruntime": Backend(
        _onnxruntime,
        lambda precision: (precision,),
        lambda: find_spec("onnxruntime") is not None,
        "onnxruntime",
    ),
    "openvino": Backend(
        _openvino,
        # OpenVINO reads ONNX as well as its own IR.
        lambda precision: (
            {"fp32": "openvino", "int8": "openvino_int8"}.get(precision, precision),
            precision,
        ),
        lambda: find_spec("openvino") is not None,
        "openvino",
    ),
    "tensorrt": Backend(
        _tensorrt,
        lambda precision: (f"engine_{precision}",),
        lambda: current_gpu() is not None,
        "tensorrt-rtx",
    ),
}


def present_backends(card: ModelCard, precision: str = "fp32") -> dict[str, str]:
    """The backends that this machine has and that have a file of this precision, with the file's role in the
    card.
    """
    found: dict[str, str] = {}
    for name, backend in BACKENDS.items():
        role = backend.role(card, precision)
        if role is not None and backend.present():
            found[name] = role
    return found
