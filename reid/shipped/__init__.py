"""Models that come with this package, by name: usable wherever a model directory is. Torch-free."""

from pathlib import Path

from reid.errors import UsageError

__all__ = ["READY", "STATISTICS", "model_folder", "refuse_shipped", "shipped_models"]

READY = "rendered"  # what a job of videos takes that names no model
STATISTICS = "batch_norm.safetensors"  # in its directory: what a training that goes on from it needs besides

_FOLDER = Path(__file__).parent


def shipped_models() -> dict[str, Path]:
    """The model directories by name."""
    return {path.parent.name: path.parent for path in sorted(_FOLDER.glob("*/model.json"))}


def model_folder(model: Path | str) -> Path:
    """The model directory itself; or, where none is there, that of the shipped model of this name."""
    path = Path(model)
    return path if path.exists() else shipped_models().get(str(model), path)


def refuse_shipped(model: Path | str) -> None:
    """For commands that write into a model directory.

    Raises:
        UsageError: it is a shipped model's.
    """
    for name, path in shipped_models().items():
        if model_folder(model).resolve() == path.resolve():
            raise UsageError(
                f"{name} comes with the package and stays as it is: `reid models fetch {name}` copies it to "
                f"weights/{name}, name that"
            )
