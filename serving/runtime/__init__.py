"""Model directories opened by a runtime: ONNX Runtime, OpenVINO or TensorRT behind one interface. Torch-free."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from reid.card import CARD_NAME, ModelCard, content_hash, load_card
from reid.engine import current_gpu
from reid.errors import ReidError, UsageError
from reid.files import sha256_of
from serving.runtime.choice import LEAST_COSINE, choose, machine_facts
from serving.runtime.embedder import Embedder, Session, processors

__all__ = ["BACKENDS", "PRECISIONS", "Backend", "Embedder", "Session", "load", "present_backends"]

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
    "onnxruntime": Backend(_onnxruntime, lambda precision: (precision,), lambda: find_spec("onnxruntime") is not None, "onnxruntime"),
    "openvino": Backend(
        _openvino,
        # OpenVINO reads ONNX as well as its own IR.
        lambda precision: ({"fp32": "openvino", "int8": "openvino_int8"}.get(precision, precision), precision),
        lambda: find_spec("openvino") is not None,
        "openvino",
    ),
    "tensorrt": Backend(_tensorrt, lambda precision: (f"engine_{precision}",), lambda: current_gpu() is not None, "tensorrt-rtx"),
}


def load(
    model_dir: Path | str,
    backend: str = "auto",
    threads: int | None = None,
    *,
    precision: str = "fp32",
    check_files: bool = True,
) -> Embedder:
    """Open a model directory.

    Args:
        model_dir: holds ``model.json`` and the files it names.
        backend: ``auto`` or a key of ``BACKENDS``. ``auto`` measures the present ones once and remembers the fastest that agrees with
            the first; see ``serving.runtime.choice``.
        threads: inferences side by side, a thread each, which leaves no thread waiting for another; as many as this process has processors
            where None.
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
    threads = threads or processors()
    roles = _chosen_roles(card, model_dir, backend, precision)
    for role in sorted(set(roles.values())) if check_files else ():
        _check_file(model_dir / card.files[role].path, card.files[role].sha256)

    def opened(name: str) -> Embedder:
        path = model_dir / card.files[roles[name]].path
        return Embedder(BACKENDS[name].open(path, card, precision, threads), card, name, precision, str(path))

    if backend != "auto":
        return opened(backend)
    facts = machine_facts({name: BACKENDS[name].distribution for name in roles}) | {
        "files": {role: content_hash(model_dir / card.files[role].path) for role in set(roles.values())},
        "input": card.input.model_dump(mode="json"),
        "side_by_side": threads,
    }
    return choose({name: partial(opened, name) for name in roles}, LEAST_COSINE[precision], facts)


def present_backends(card: ModelCard, precision: str = "fp32") -> dict[str, str]:
    """The backends that this machine has and that have a file of this precision, with the file's role in the card."""
    found: dict[str, str] = {}
    for name, backend in BACKENDS.items():
        role = next((role for role in backend.roles(precision) if role in card.files), None)
        if role is not None and backend.present():
            found[name] = role
    return found


def _chosen_roles(card: ModelCard, model_dir: Path, backend: str, precision: str) -> dict[str, str]:
    present = present_backends(card, precision)
    if backend != "auto" and backend not in present:
        choice = ", ".join(present) or "none"
        lacks = "a GPU, or the card names" if backend == "tensorrt" else "it, or the card names"
        known = "is unknown" if backend not in BACKENDS else f"cannot be used: this machine lacks {lacks} no {precision} file for it"
        raise UsageError(f"backend {backend!r} {known}: present for {model_dir} at {precision}: {choice}")
    if not present:
        raise UsageError(
            f"{model_dir} has no {precision} file that an installed runtime can open: its card names {', '.join(sorted(card.files))}"
        )
    return present if backend == "auto" else {backend: present[backend]}


def _check_file(path: Path, sha256: str) -> None:
    if sha256 and sha256_of(path) != sha256:
        raise ReidError(f"{path} is not the file that {CARD_NAME} describes (SHA-256 differs): export again")
