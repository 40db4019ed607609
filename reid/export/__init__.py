"""The model directory: one trained model as ONNX files, TensorRT engines and a card, each file checked
against the model itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.card import (
    Certainty,
    InputSpec,
    MetricRecord,
    ModelCard,
    ModelFile,
    Threshold,
    fingerprint_for,
    fitted_fingerprint,
    save_card,
)
from reid.engine_stamp import stamp_path
from reid.errors import ReidError, UsageError
from reid.export.gate import Gate
from reid.export.onnx import export_onnx, read_onnx, write_onnx
from reid.export.precisions import CONVERSIONS, FILES
from reid.export.self_test import add_self_test
from reid.export.tensorrt import Module, build_engine, installed
from reid.files import atomic_directory, sha256_of
from reid.linear_metric import FittedMetric
from reid.linear_metric.graph import fold_onnx
from reid.models.embedder import ModelSpec, load_model
from reid.parity import GATED_BY, Limits, People

__all__ = ["PROVENANCE", "Limits", "People", "export_model", "fingerprint_of"]

PROVENANCE = ("name", "objective", "data_hash", "git_commit", "mlflow_run_id", "licence")
_ATTEMPTS = 3


def export_model(
    checkpoint: Path | str,
    out: Path | str,
    *,
    crops: npt.NDArray[np.uint8],
    crop_names: Sequence[str] = (),
    people: People | None = None,
    calibration: npt.NDArray[np.uint8] | None = None,
    precisions: Sequence[str] = ("fp32",),
    required: Sequence[str] = ("fp32",),
    engines: Module | None = None,
    engine_options: Mapping[str, Any] | None = None,
    limits: Limits,
    thresholds: Sequence[Threshold] = (),
    certainty: Certainty | None = None,
    fitted: tuple[FittedMetric, MetricRecord] | None = None,
    provenance: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a model directory, whole or not at all, and measure every file in it with every CPU runtime that
    is installed.

    Args:
        checkpoint: of ``reid.models.embedder.save_model``.
        out: the directory; one that is there is replaced.
        crops: held-out people for the parity check, uint8 ``(N, height, width, 3)``, RGB, of the model's
            input size.
        crop_names: N names for messages; row numbers when empty.
        people: validation people to measure rank-1 and mAP on; None leaves that check out.
        calibration: training people, like ``crops``: int8 is calibrated on them, and layers of fp16 and int8
            chosen.
        precisions: keys of ``FILES``; fp32 is always written.
        required: precisions that must hold, fp32 always among them. Another one that strays or cannot be made
            is left out of the directory, and the reason stands in the card and in what is returned.
        engines: the TensorRT module to build an engine with from every ONNX file, or None for no engine.
        engine_options: further arguments of ``reid.export.tensorrt.build_engine``.
        limits: what every file is held against.
        thresholds: calibrated ones, for the card.
        certainty: likewise.
        fitted: a metric fitted to the model's embeddings, which is folded into every file and held against
            them in NumPy, and what the card says of it.
        provenance: for the card: ``name`` and any other key of ``PROVENANCE``.
        progress: called with (done, total) as one precision after the other is through.

    Returns:
        For JSON: ``fingerprint``; ``files``, by precision: path, bytes, sha256, limit, what it is held
            against, layers left in float32 and their share of the multiply-adds, and by runtime cosines,
            rank-1 and mAP; ``left_out``, reasons by precision; ``engines``, by precision: path, bytes, key,
            or a note why there is none; ``self_test``, lowest cosines by precision.

    Raises:
        UsageError: the checkpoint is missing, or a precision, limit or key is unknown or missing.
        ReidError: a required file strays from the trained model, or a step fails; nothing is written then.
    """
    precisions = tuple(dict.fromkeys(("fp32", *precisions)))
    _check_arguments(precisions, required, limits, provenance, calibration)
    model, spec = load_model(checkpoint)
    _check_crops(crops, spec)
    metric, record = fitted or (None, None)
    names = list(crop_names) or [f"crop {row}" for row in range(len(crops))]
    gate = Gate(model, crops, names, people, limits, metric)
    input_spec = InputSpec(height=spec.height, width=spec.width)
    fingerprint = fingerprint_of(checkpoint, input_spec)
    if metric is not None:
        fingerprint = fitted_fingerprint(fingerprint, metric.to_bytes())
    report: dict[str, Any] = {
        "fingerprint": fingerprint,
        "trained": gate.trained,
        "files": {},
        "engines": {},
        "left_out": {},
    }
    files: dict[str, ModelFile] = {}
    with atomic_directory(out) as folder:
        fp32 = folder / FILES["fp32"]
        export_onnx(model, spec, fp32, _metadata(spec, fingerprint))
        if metric is not None:
            proto = read_onnx(fp32)
            fold_onnx(proto, metric)
            write_onnx(proto, fp32)
        for done, precision in enumerate(precisions):
            if progress is not None:
                progress(done, len(precisions))
            path = folder / FILES[precision]
            try:
                made, measured = _made(precision, fp32, path, calibration, gate, limits)
            except ReidError as error:
                if precision in ("fp32", *required):
                    raise
                path.unlink(missing_ok=True)
                report["left_out"][precision] = str(error)
                continue
            files[precision] = ModelFile(path=path.name, sha256=sha256_of(path))
            report["files"][precision] = {
                "path": path.name,
                "bytes": path.stat().st_size,
                "sha256": files[precision].sha256,
                **_held(precision, made, measured, limits),
            }
            try:
                report["engines"][precision] = _engine(
                    path, engines, dict(engine_options or {}), files, precision
                )
            except ReidError as error:
                if precision in ("fp32", *required):
                    raise
                report["engines"][precision] = {"note": f"no engine: {error}"}
        self_test = add_self_test(
            model, spec, folder, {role: folder / FILES[role] for role in report["files"]}, metric
        )
        report["self_test"] = self_test.lowest
        card = ModelCard(
            dim=model.dim if metric is None else metric.dim,
            input=input_spec,
            files=files,
            fingerprint=fingerprint,
            thresholds=tuple(thresholds),
            certainty=certainty,
            self_test=self_test,
            left_out=report["left_out"],
            fitted_metric=record,
            backbone=spec.backbone,
            neck_feature=spec.neck_feature,
            **{"name": spec.backbone, **provenance},  # type: ignore[arg-type]  # keys are checked, pydantic checks the values
        )
        save_card(card, folder)
    return report


def fingerprint_of(checkpoint: Path | str, input_spec: InputSpec) -> str:
    """Identity of an embedding space, 32 hexadecimal digits: of the weights' bytes and of how pixels reach
    them.
    """
    return fingerprint_for(sha256_of(checkpoint), input_spec)


@dataclass(frozen=True)
class _Made:
    """What a conversion left in float32; ``float32_share`` is None where it is not counted."""

    kept: tuple[str, ...] = ()
    float32_share: float | None = None


def _made(
    precision: str,
    fp32: Path,
    path: Path,
    calibration: npt.NDArray[np.uint8] | None,
    gate: Gate,
    limits: Limits,
) -> tuple[_Made, dict[str, dict[str, Any]]]:
    """A precision's file, made of the one in float32, and what every runtime came to with it.

    Layers are chosen on training crops: where that was not enough for the gate, they are chosen again for
    half the loss.
    """
    if path == fp32:
        return _Made(), gate.check(path, precision)
    conversion = CONVERSIONS[precision](fp32, calibration)  # type: ignore[arg-type]  # without crops it was refused before
    limit = limits.cosine[precision]
    kept, refused = None, None
    for attempt in range(_ATTEMPTS):
        fallback = conversion.write(path, 1 - (1 - limit) / 2**attempt)
        if fallback.kept == kept:
            break  # a stricter goal found nothing better
        kept = fallback.kept
        try:
            return _Made(kept, conversion.float32_share(kept)), gate.check(path, precision)
        except ReidError as error:
            refused = error
    raise refused or AssertionError("there is at least one attempt")


def _held(
    precision: str, made: _Made, measured: Mapping[str, Mapping[str, Any]], limits: Limits
) -> dict[str, Any]:
    """What a file was held against, and how near it came."""
    return {
        "limit": limits.cosine[precision],
        "held_against": GATED_BY[precision],
        "float32_layers": list(made.kept),
        "float32_share": made.float32_share,
        "lowest": min(runtime["lowest"] for runtime in measured.values()),
        "mean": min(runtime["mean"] for runtime in measured.values()),
        "runtimes": measured,
    }


def _metadata(spec: ModelSpec, fingerprint: str) -> dict[str, str]:
    return {
        "reid.fingerprint": fingerprint,
        "reid.backbone": spec.backbone,
        "reid.neck_feature": spec.neck_feature,
        "reid.colour": "rgb",
        "reid.layout": "nhwc",
    }


def _engine(
    onnx_path: Path,
    module: Module | None,
    options: dict[str, Any],
    files: dict[str, ModelFile],
    precision: str,
) -> dict[str, Any]:
    if module is None:
        return {"note": "no engine was asked for"}
    if not installed(module):
        return {"note": f"{module} is not installed: no engine; install its extra and export again"}
    plan = onnx_path.with_suffix(".plan")
    stamp = build_engine(onnx_path, plan, module=module, **options)
    files[f"engine_{precision}"] = ModelFile(path=plan.name, sha256=stamp.plan_sha256)
    return {
        "path": plan.name,
        "stamp": stamp_path(plan).name,
        "bytes": plan.stat().st_size,
        "key": stamp.key,
        "version": stamp.version,
        "targets": list(stamp.targets),
        "note": "built, not run: an engine runs only on the GPU it is for",
    }


def _check_arguments(
    precisions: Sequence[str],
    required: Sequence[str],
    limits: Limits,
    provenance: Mapping[str, str],
    calibration: npt.NDArray[np.uint8] | None,
) -> None:
    for precision in required:
        if precision not in precisions:
            raise UsageError(
                f"required names {precision!r}, which is not among the precisions "
                f"{', '.join(precisions)}: add it to them"
            )
    for precision in precisions:
        if precision not in FILES:
            raise UsageError(f"precision {precision!r} is unknown: choose from {', '.join(FILES)}")
        if precision not in limits.cosine:
            raise UsageError(f"limits lack {precision!r}: give the least cosine that {precision} may have")
        if precision in CONVERSIONS and calibration is None:
            raise UsageError(
                f"{precision} is made with training crops, and none are given: give calibration "
                f"images, or leave {precision} out"
            )
    for key in provenance:
        if key not in PROVENANCE:
            raise UsageError(f"provenance key {key!r} is unknown: choose from {', '.join(PROVENANCE)}")


def _check_crops(crops: npt.NDArray[np.uint8], spec: ModelSpec) -> None:
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (spec.height, spec.width, 3):
        raise ReidError(
            f"crops are {crops.dtype} {crops.shape}: the model wants uint8 (N, {spec.height}, "
            f"{spec.width}, 3)"
        )
    if len(crops) == 0:
        raise ReidError("there is no crop to check parity on: give held-out crops")
