"""Where things come from: data -> run -> model -> engine -> gallery, each link checked by the hashes that
both of its ends carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid.card import CARD_NAME, ModelCard, fingerprint_for, load_card
from reid.data.catalog import read_catalog
from reid.engine_stamp import read_stamp
from reid.errors import UsageError

if TYPE_CHECKING:
    from reid.training.tracking import Tracker

__all__ = ["Link", "Run", "as_json", "lineage", "read_run"]


@dataclass(frozen=True)
class Link:
    """One station of the lineage. ``holds`` says whether it fits the station before, None where that cannot
    be known.
    """

    what: str
    id: str
    detail: str
    holds: bool | None = None
    why: str = ""


@dataclass(frozen=True)
class Run:
    """What MLflow knows of a run, with the newest version that it registered."""

    id: str
    name: str
    status: str
    started: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    version: str | None
    is_champion: bool


def read_run(tracker: "Tracker", run: str, model: str) -> Run:
    """A run by MLflow's id or by the name of its local record.

    Raises:
        UsageError: MLflow does not know it.
        Exception: ``tracker.errors``: MLflow cannot be reached.
    """
    from datetime import UTC, datetime

    from reid.training.champion import present_champion, version_of
    from reid.training.record import find_run
    from reid.training.tracking import is_absent

    run_id = find_run(tracker.client, tracker.experiment_id, run) or run
    try:
        found = tracker.client.get_run(run_id)
    except tracker.errors as error:
        if is_absent(error):
            raise UsageError(
                f"run {run} is not in MLflow at {tracker.shown}: `reid runs list` names those that are"
            ) from error
        raise
    version = version_of(tracker, model, run_id)
    champion = present_champion(tracker, model)
    started = datetime.fromtimestamp(found.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    info, data = found.info, found.data
    is_champion = version is not None and champion is not None and version.number == champion.number
    return Run(
        info.run_id,
        info.run_name,
        info.status,
        started,
        data.tags,
        data.metrics,
        None if version is None else version.number,
        is_champion,
    )


def lineage(run: Run, registered: str, catalog: Path, model_dir: Path, gallery: Path) -> list[Link]:
    """The five stations; a file that is not there is a station that says so.

    Args:
        run: the middle of it all.
        registered: name of the registered model.
        catalog: the catalog file of today.
        model_dir: the exported model directory.
        gallery: the gallery's file.
    """
    card = load_card(model_dir) if (model_dir / CARD_NAME).exists() else None
    return [
        _data(run, catalog),
        _run(run),
        _model(run, registered),
        _engine(run, card, model_dir),
        _gallery(card, gallery),
    ]


def _data(run: Run, catalog: Path) -> Link:
    trained_on = run.tags.get("data_hash", "")
    if not catalog.exists():
        return Link("data", trained_on, f"{catalog} is not there")
    present = read_catalog(catalog)
    people = len(set(present.identities.tolist()))
    holds = present.data_hash == trained_on
    why = "what the run was trained on" if holds else f"changed since: it is {present.data_hash[:12]} now"
    return Link("data", trained_on, f"{catalog}: {len(present):,} images of {people:,} people", holds, why)


def _run(run: Run) -> Link:
    tags = run.tags
    dirty = {"true": " with changes", "false": ""}.get(tags.get("git_dirty", ""), ", changes unknown")
    code = f"commit {tags.get('git_commit', 'unknown')[:12]}{dirty}"
    return Link(
        "run", run.id, f"{run.name}, {run.status}, {run.started}, {code}, seed {tags.get('seed', 'unknown')}"
    )


def _model(run: Run, registered: str) -> Link:
    figures = ", ".join(
        f"{key} {run.metrics[key]:.3f}" for key in ("val_mean_ap", "val_rank1") if key in run.metrics
    )
    version = (
        f"{registered} version {run.version}{', champion' if run.is_champion else ''}"
        if run.version
        else "not registered"
    )
    return Link(
        "model", run.tags.get("model_sha256", ""), ", ".join(part for part in (version, figures) if part)
    )


def _engine(run: Run, card: ModelCard | None, model_dir: Path) -> Link:
    if card is None:
        return Link("engine", "", f"{model_dir} holds no exported model")
    plans = sorted(model_dir.glob("*.plan"))
    stamps = [read_stamp(plan) for plan in plans]
    known = {file.sha256 for file in card.files.values()}
    built = [
        f"{plan.name} ({stamp.module} {stamp.version})" for plan, stamp in zip(plans, stamps, strict=True)
    ]
    onnx = sorted({file.path for file in card.files.values()} - {plan.name for plan in plans})
    strange = [plan.name for plan, stamp in zip(plans, stamps, strict=True) if stamp.onnx_sha256 not in known]
    same_run = card.mlflow_run_id in (run.id, run.tags.get("reid.record"))
    trained = card.fitted_metric.fitted_to if card.fitted_metric else card.fingerprint
    same_weights = trained == fingerprint_for(run.tags.get("model_sha256", ""), card.input)
    holds = same_run and same_weights and not strange
    why = "exported from this model" if holds else f"exported from run {card.mlflow_run_id or 'unknown'}"
    if same_run and not same_weights:
        why = "exported from other weights than this run's"
    if strange:
        why = f"{strange[0]} was built from another ONNX file"
    return Link("engine", card.fingerprint, f"{model_dir}: {', '.join([*onnx, *built])}", holds, why)


def _gallery(card: ModelCard | None, gallery: Path) -> Link:
    from serving.gallery import Gallery

    if not gallery.exists():
        return Link("gallery", "", f"{gallery} is not there")
    with Gallery.open(gallery, None, create=False, read_only=True) as opened:
        people = opened.people()
        version = opened.version
        made_by = opened.fingerprint
    detail = (
        f"{gallery}: {len(people):,} people, {sum(one.references for one in people):,} "
        f"references, version {version}"
    )
    if card is None:
        return Link("gallery", made_by, detail)
    holds = made_by == card.fingerprint
    return Link(
        "gallery", made_by, detail, holds, "made by this engine" if holds else "made by another model"
    )


def as_json(links: list[Link]) -> dict[str, Any]:
    """By station, for programs."""
    return {
        link.what: {"id": link.id, "detail": link.detail, "holds": link.holds, "why": link.why}
        for link in links
    }
