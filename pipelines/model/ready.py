"""``reid models import`` of a file that is a model already: copied, described by a card, with a self-test.
Torch-free.
"""

import shutil
from pathlib import Path

import numpy as np

from reid.card import (
    InputSpec,
    ModelCard,
    ModelFile,
    SelfTestRecord,
    content_hash,
    fingerprint_for,
    save_card,
)
from reid.errors import ReidError
from reid.files import atomic_directory, sha256_of
from reid.self_test import SELF_TEST_NAME, SelfTest, write_self_test
from serving.runtime import BACKENDS, Embedder, Said, describe_file, output_dim, present_backends

__all__ = ["import_ready"]


def import_ready(
    file: Path, out: Path, said: Said, *, name: str = "", licence: str = ""
) -> tuple[ModelCard, tuple[str, ...]]:
    """Write a model directory around an ONNX or OpenVINO file, whole or not at all.

    Args:
        file: ``.onnx``, or ``.xml`` with its ``.bin`` beside it.
        out: the directory; one that is there is replaced.
        said: of its input; see ``serving.runtime.foreign_model``.
        name: for the card; the file's where empty.
        licence: for the card.

    Returns:
        The card, and lines about what was recognised or assumed.

    Raises:
        UsageError: the file is missing or of another kind, or its size must be said.
        ReidError: it is damaged, is no embedder, or runtimes disagree about it; nothing is written then.
    """
    spec, lines = describe_file(file, said)
    with atomic_directory(out) as folder:
        copied = folder / f"model{file.suffix}"
        shutil.copyfile(file, copied)
        if file.suffix == ".xml":
            shutil.copyfile(file.with_suffix(".bin"), copied.with_suffix(".bin"))
        # The weights, not the reader's notes beside them, are what makes an embedding space; an .xml and its
        # .bin are one model.
        card = ModelCard(
            name=name or file.stem,
            dim=output_dim(file, spec),
            normalised=False,
            input=spec,
            files={
                "fp32" if file.suffix == ".onnx" else "openvino": ModelFile(
                    path=copied.name, sha256=sha256_of(copied)
                )
            },
            fingerprint=fingerprint_for(content_hash(copied), spec),
            licence=licence,
        )
        card = card.model_copy(update={"self_test": _add_self_test(card, spec, folder)})
        save_card(card, folder)
    return card, lines


def _add_self_test(card: ModelCard, spec: InputSpec, folder: Path) -> SelfTestRecord:
    """The answers of the first runtime present: against these another runtime, and another machine, will be
    held.
    """
    from reid.data.synthetic.few import rendered_people

    images = rendered_people(spec.height, spec.width)
    rows: dict[str, np.ndarray] = {}
    for runtime, role in present_backends(card).items():
        path = folder / card.files[role].path
        rows[runtime] = Embedder(
            BACKENDS[runtime].open(path, card, "fp32", 1), card, runtime, "fp32", str(path)
        )(images)
    if not rows:
        raise ReidError(f"no runtime here can open {card.name}: install onnxruntime, or the extra openvino")
    test = SelfTest(images, next(iter(rows.values())))
    path = folder / SELF_TEST_NAME
    write_self_test(test, path)
    return SelfTestRecord(
        path=path.name,
        sha256=sha256_of(path),
        lowest={"fp32": min(float(test.cosines(row).min()) for row in rows.values())},
    )
