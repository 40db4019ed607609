"""The registered model with the alias ``champion``: replaced only by a model that is better on the same
validation people.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.training.packaging import ARTIFACT
from reid.training.tracking import Tracker, is_absent

__all__ = [
    "ALIAS",
    "Verdict",
    "Version",
    "fetch_weights",
    "judge_challenger",
    "present_champion",
    "promote",
    "version_of",
]

ALIAS = "champion"


@dataclass(frozen=True)
class Version:
    """A version of a registered model; ``tags`` hold its validation figures and ``validation_hash``, the
    people they are of.
    """

    number: str
    run_id: str
    tags: dict[str, str]

    def figure(self, key: str, validation_hash: str) -> float | None:
        """Its figure on these validation people, None where it was scored on others or not at all."""
        scored = self.tags.get("validation_hash") == validation_hash and key in self.tags
        return float(self.tags[key]) if scored else None


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger becomes the champion, and why in words."""

    promote: bool
    reason: str


def judge_challenger(
    name: str, figure: float, champion: str | None, champion_figure: float | None, key: str
) -> Verdict:
    """Strictly better wins; a tie leaves the champion.

    Args:
        name: of the challenger.
        figure: its figure.
        champion: number of the champion's version, None where there is none.
        champion_figure: on the same people; None where its weights cannot be had.
        key: name of the figure.
    """
    if champion is None:
        return Verdict(True, f"{name} is the first champion ({key} {figure:.4f})")
    if champion_figure is None:
        return Verdict(
            True,
            (
                f"{name} replaces champion version {champion}, whose weights cannot be read any more "
                f"({key} {figure:.4f})"
            ),
        )
    better = figure > champion_figure
    words = "beats" if better else "does not beat"
    return Verdict(
        better,
        (
            f"{name} {words} champion version {champion} on the same people ({key} {figure:.4f} against "
            f"{champion_figure:.4f})"
        ),
    )


def present_champion(tracker: Tracker, model: str) -> Version | None:
    """The version with the alias, or None."""
    try:
        return _version(tracker.client.get_model_version_by_alias(model, ALIAS))
    except tracker.errors as error:
        if is_absent(error):
            return None
        raise


def version_of(tracker: Tracker, model: str, run_id: str) -> Version | None:
    """The newest version that a run registered, or None."""
    found = tracker.client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
    return _version(max(found, key=lambda version: int(version.version))) if found else None


def promote(tracker: Tracker, model: str, version: Version) -> None:
    """Point the alias at a version."""
    tracker.client.set_registered_model_alias(model, ALIAS, version.number)


def fetch_weights(tracker: Tracker, version: Version, folder: Path) -> Path | None:
    """Copy a version's ``model.safetensors`` into a folder; None where the store has lost it.

    Raises:
        Exception: ``tracker.errors``: the store cannot be asked.
    """
    path = f"model/{ARTIFACT}"
    try:
        kept = tracker.client.list_artifacts(version.run_id, str(Path(path).parent))
    except tracker.errors as error:
        if is_absent(error):  # the run was deleted
            return None
        raise
    if path not in [one.path for one in kept]:
        return None
    return Path(tracker.client.download_artifacts(version.run_id, path, str(folder)))


def _version(found: Any) -> Version:
    return Version(
        str(found.version), str(found.run_id), {key: str(value) for key, value in found.tags.items()}
    )
