"""Model directories opened by a runtime: ONNX Runtime, OpenVINO or TensorRT behind one interface.
Torch-free.
"""

from functools import partial
from pathlib import Path
from typing import Any

from reid.card import ModelCard, ModelFile, check_file, content_hash, load_card
from reid.errors import UsageError
from reid.processors import processors
from reid.self_test import LEAST_COSINE
from reid.shipped import model_folder
from serving.runtime.backends import BACKENDS, PRECISIONS, Backend, present_backends
from serving.runtime.choice import (
    Timed,
    choose,
    images_per_second,
    machine_facts,
    quickest,
)
from serving.runtime.embedder import Embedder, Session
from serving.runtime.foreign_model import Said, describe_file, output_dim
from serving.runtime.network import Network, Port
from serving.runtime.networks import NETWORKS, runtimes_for
from serving.runtime.self_test import check_files, check_once

__all__ = [
    "BACKENDS",
    "NETWORKS",
    "PRECISIONS",
    "Backend",
    "Embedder",
    "Network",
    "Port",
    "Said",
    "Session",
    "Timed",
    "check_files",
    "describe_file",
    "images_per_second",
    "load",
    "machine_facts",
    "onnx",
    "output_dim",
    "present_backends",
    "quickest",
    "runtimes_for",
]


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
        model_dir: holds ``model.json`` and the files it names; or the name of a model that comes with the
            package.
        backend: ``auto`` or a key of ``BACKENDS``. ``auto`` measures the present ones once and remembers the
            fastest that agrees with the first; see ``serving.runtime.choice``.
        threads: inferences side by side, a thread each, which leaves no thread waiting for another; as many
            as this process has processors where None.
        precision: which of the card's files to run.
        check_files: compare the file with the card's SHA-256.

    Raises:
        UsageError: the directory or card is missing, the backend is unknown or absent, or the card has no
            such precision.
        ReidError: the file is not the one the card describes, cannot be opened, gives something else than the
            card says, or strays from the trained model's answers on this processor (the directory's
            self-test, run once for each machine, file and version).
    """
    model_dir = model_folder(model_dir)
    card = load_card(model_dir)
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown: want one of {', '.join(PRECISIONS)}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}: want 1 or more")
    threads = threads or processors()
    roles = _chosen_roles(card, model_dir, backend, precision)
    for role in sorted(set(roles.values())) if check_files else ():
        check_file(model_dir / card.files[role].path, card.files[role].sha256)

    def opened(name: str) -> Embedder:
        path = model_dir / card.files[roles[name]].path
        embedder = Embedder(
            BACKENDS[name].open(path, card, precision, threads), card, name, precision, str(path)
        )
        check_once(embedder, model_dir, path, facts_of({name: roles[name]}))
        return embedder

    def facts_of(chosen: dict[str, str]) -> dict[str, Any]:
        return machine_facts({name: BACKENDS[name].distribution for name in chosen}) | {
            "files": {role: _hash_of(card.files[role], model_dir) for role in set(chosen.values())},
            "input": card.input.model_dump(mode="json"),
        }

    if backend != "auto":
        return opened(backend)
    facts = facts_of(roles) | {"side_by_side": threads}
    float32 = None
    if precision != "fp32" and present_backends(card, "fp32"):
        float32 = partial(load, model_dir, "auto", threads, check_files=check_files)
    return choose({name: partial(opened, name) for name in roles}, LEAST_COSINE[precision], facts, float32)


def _chosen_roles(card: ModelCard, model_dir: Path, backend: str, precision: str) -> dict[str, str]:
    present = present_backends(card, precision)
    if precision in card.left_out:
        raise UsageError(
            f"{model_dir} has no {precision} file, it was left out at the export: {card.left_out[precision]}"
        )
    if backend != "auto" and backend not in present:
        choice = ", ".join(present) or "none"
        lacks = "a GPU, or the card names" if backend == "tensorrt" else "it, or the card names"
        known = (
            "is unknown"
            if backend not in BACKENDS
            else f"cannot be used: this machine lacks {lacks} no {precision} file for it"
        )
        raise UsageError(f"backend {backend!r} {known}: present for {model_dir} at {precision}: {choice}")
    if not present:
        raise UsageError(
            f"{model_dir} has no {precision} file that an installed runtime can open: its card names "
            f"{', '.join(sorted(card.files))}"
        )
    return present if backend == "auto" else {backend: present[backend]}


def _hash_of(file: ModelFile, model_dir: Path) -> str:
    """As the card says where it does: of an .xml it says nothing of the weights beside it."""
    path = model_dir / file.path
    return file.sha256 if file.sha256 and path.suffix != ".xml" else content_hash(path)
