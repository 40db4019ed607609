"""Whether a model's file still gives the trained model's answers: on this processor, in this runtime and its
version.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.card import ModelCard, check_file
from reid.errors import ReidError
from reid.files import read_json, sha256_of, write_json
from reid.processors import processors
from reid.self_test import TOLERANCE, SelfTest, read_self_test
from serving.runtime.backends import BACKENDS, PRECISIONS
from serving.runtime.choice import memory_path
from serving.runtime.embedder import Embedder

__all__ = ["check_files", "check_once", "least_cosine", "load_self_test", "lowest_cosine"]


def load_self_test(card: ModelCard, model_dir: Path) -> SelfTest | None:
    """The directory's self-test, or None where a hand-written card names none.

    Raises:
        ReidError: it is not the file that the card describes.
    """
    if card.self_test is None:
        return None
    path = model_dir / card.self_test.path
    if sha256_of(path) != card.self_test.sha256:
        raise ReidError(
            f"{path} is not the self-test that the card describes (SHA-256 differs): export again"
        )
    test = read_self_test(path)
    if test.embeddings.shape[1] != card.dim:
        raise ReidError(
            f"self-test {path} holds embeddings of {test.embeddings.shape[1]} dimensions, its card "
            f"says {card.dim}: export again"
        )
    return test


def least_cosine(card: ModelCard, precision: str) -> float | None:
    """What the lowest picture of the self-test must reach, or None where the export did not measure this
    precision.
    """
    if card.self_test is None or precision not in card.self_test.lowest:
        return None
    return card.self_test.lowest[precision] - TOLERANCE[precision]


def lowest_cosine(test: SelfTest, embedder: Embedder) -> float:
    """Of the self-test's pictures, the lowest cosine to the trained model's embedding."""
    return float(test.cosines(embedder(test.images)).min())


def check_files(card: ModelCard, model_dir: Path, threads: int | None = None) -> list[dict[str, Any]]:
    """Run every file of a model directory in every runtime present against its self-test; nothing is
    remembered.

    Returns:
        For each file and runtime: ``file``, ``precision``, ``runtime``, ``ran``, ``lowest`` and ``wanted``
            cosine or None, and ``verdict``: ``holds``, ``strays``, or why it did not run.

    Raises:
        ReidError: the self-test cannot be read.
    """
    test = load_self_test(card, model_dir)
    assert test is not None
    rows: list[dict[str, Any]] = []
    for precision in PRECISIONS:
        for name, backend in BACKENDS.items():
            role = backend.role(card, precision)
            if role is None:
                continue
            path = model_dir / card.files[role].path
            least = least_cosine(card, precision)
            row: dict[str, Any] = {
                "file": path.name,
                "precision": precision,
                "runtime": name,
                "ran": False,
                "lowest": None,
                "wanted": least,
            }
            rows.append(row)
            if not backend.present():
                row["verdict"] = "not run: this machine lacks it"
                continue
            row["ran"] = True
            try:
                check_file(path, card.files[role].sha256)
                session = backend.open(path, card, precision, threads or processors())
                lowest = lowest_cosine(test, Embedder(session, card, name, precision, str(path)))
            except ReidError as error:
                row["verdict"] = str(error)
                continue
            row["lowest"], row["verdict"] = (
                lowest,
                "strays" if least is not None and lowest < least else "holds",
            )
            if least is None:
                row["verdict"] = "runs; not measured at the export"
    return rows


def check_once(embedder: Embedder, model_dir: Path, path: Path, facts: Mapping[str, Any]) -> None:
    """Run the self-test, once for equal ``facts``: a pass is remembered beside what ``auto`` remembers.

    Args:
        embedder: of the file.
        model_dir: with the self-test.
        path: the file, for the message.
        facts: machine, runtime and its version, and hash of the file.

    Raises:
        ReidError: the file strays here, or the self-test cannot be read.
    """
    card, precision = embedder.card, embedder.precision
    least = least_cosine(card, precision)
    if card.self_test is None or least is None:
        return
    memory = memory_path({"self_test": card.self_test.sha256, "least": least, **facts}, "self-test")
    if _passed(memory):
        return
    test = load_self_test(card, model_dir)
    assert test is not None
    lowest = lowest_cosine(test, embedder)
    if lowest < least:
        raise ReidError(
            f"{path.name} in {embedder.backend} strays on this processor: lowest cosine {lowest:.4f} "
            "to the trained model's, "
            f"{least:.4f} is wanted: take another precision or runtime, or export the model again"
        )
    try:
        write_json(memory, {"passed": True})
    except ReidError:
        return  # nothing can be remembered here: the next start runs the pictures again


def _passed(memory: Path) -> bool:
    try:
        found = read_json(memory, "remembered self-test")
    except (ReidError, OSError):  # none, or torn: the pictures are run again
        return False
    return isinstance(found, dict) and found.get("passed") is True
