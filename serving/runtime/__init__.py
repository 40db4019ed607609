"""Model directories opened by a runtime: ONNX Runtime or OpenVINO behind one interface. Torch-free."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from reid.card import CARD_NAME, InputSpec, ModelCard, load_card
from reid.errors import ReidError, UsageError
from reid.files import sha256_of
from serving.runtime.embedder import MAX_BATCH, Embedder, Session, processors

__all__ = ["BACKENDS", "MAX_BATCH", "PRECISIONS", "Embedder", "Session", "load", "present_backends"]

PRECISIONS = ("fp32", "fp16", "int8")


def _onnxruntime(path: Path, spec: InputSpec, threads: int) -> Session:
    from serving.runtime.onnx import OnnxSession

    return OnnxSession(path, spec, threads)


def _openvino(path: Path, spec: InputSpec, threads: int) -> Session:
    from serving.runtime.openvino import OpenVinoSession

    return OpenVinoSession(path, spec, threads)


# In the order in which "auto" takes them.
BACKENDS: dict[str, Callable[[Path, InputSpec, int], Session]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def load(
    model_dir: Path | str, backend: str = "auto", threads: int | None = None, *, precision: str = "fp32", check_files: bool = True
) -> Embedder:
    """Open a model directory.

    Args:
        model_dir: holds ``model.json`` and the files it names.
        backend: ``auto``, ``onnxruntime`` or ``openvino``. ``auto`` takes ONNX Runtime where there is an ONNX file for it.
        threads: of one inference; all processors of this process where None.
        precision: which of the card's files to run.
        check_files: compare the file with the card's SHA-256.

    Raises:
        UsageError: the directory or card is missing, the backend is unknown or absent, or the card has no such precision.
        ReidError: the file is not the one the card describes, cannot be opened, or gives something else than the card says.
    """
    model_dir = Path(model_dir)
    card = load_card(model_dir)
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown: want one of {', '.join(PRECISIONS)}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}: want 1 or more")
    name, role = _choose(card, model_dir, backend, precision)
    file = card.files[role]
    path = model_dir / file.path
    if check_files and file.sha256 and sha256_of(path) != file.sha256:
        raise ReidError(f"{path} is not the file that {CARD_NAME} describes (SHA-256 differs): export again")
    session = BACKENDS[name](path, card.input, threads or processors())
    return Embedder(session, card, name, precision, str(path))


def present_backends(card: ModelCard, precision: str = "fp32") -> dict[str, str]:
    """The backends that are installed and have a file of this precision, with the file's role in the card."""
    found: dict[str, str] = {}
    for name in BACKENDS:
        role = next((role for role in _roles(name, precision) if role in card.files), None)
        if role is not None and find_spec(name) is not None:
            found[name] = role
    return found


def _roles(backend: str, precision: str) -> tuple[str, ...]:
    """Roles of files that a backend can run at a precision, best first. OpenVINO reads ONNX as well as its own IR."""
    own = {"openvino": {"fp32": ("openvino",), "int8": ("openvino_int8",)}}
    return (*own.get(backend, {}).get(precision, ()), precision)


def _choose(card: ModelCard, model_dir: Path, backend: str, precision: str) -> tuple[str, str]:
    present = present_backends(card, precision)
    if backend != "auto" and backend not in present:
        choice = ", ".join(present) or "none"
        known = "is unknown" if backend not in BACKENDS else f"is not installed or has no {precision} file"
        raise UsageError(f"backend {backend!r} {known}: present for {model_dir} at {precision}: {choice}")
    if not present:
        raise UsageError(
            f"{model_dir} has no {precision} file that an installed runtime can open: its card names {', '.join(sorted(card.files))}"
        )
    name = next(iter(present)) if backend == "auto" else backend
    return name, present[name]
