"""Models that come with this package, by name: usable wherever a model directory is. Torch-free."""

from pathlib import Path

from reid.errors import ReidError, UsageError

__all__ = [
    "CARD_NAME",
    "READY",
    "STATISTICS",
    "model_folder",
    "named_model",
    "ready_model",
    "refuse_shipped",
    "shipped_models",
    "shipped_weights",
]

READY = "rendered"  # what a job of videos takes that names no model
STATISTICS = "batch_norm.safetensors"  # in its directory: what a training that goes on from it needs besides

CARD_NAME = "model.json"  # in every model directory; reid.card reads it
_FOLDER = Path(__file__).parent


def shipped_models() -> dict[str, Path]:
    """The model directories by name."""
    return {path.parent.name: path.parent for path in sorted(_FOLDER.glob(f"*/{CARD_NAME}"))}


def model_folder(model: Path | str) -> Path:
    """The model directory itself; or, where none is there, that of the shipped model of this name.

    A file or a folder without a card is no model directory, and does not hide a shipped one.
    """
    return named_model(Path(model), str(model))


def named_model(path: Path, name: str) -> Path:
    """The same of a ``path`` that was made of what somebody called ``name``."""
    shipped = shipped_models().get(name)
    return path if shipped is None or (path / CARD_NAME).is_file() else shipped


def shipped_weights(weights: str) -> Path | None:
    """The directory of the shipped model that ``weights`` name; a file of that name goes first."""
    return None if Path(weights).is_file() else shipped_models().get(weights)


def ready_model() -> Path:
    """The directory of ``READY``, whatever lies in the present folder.

    Raises:
        ReidError: the package is damaged.
    """
    shipped = shipped_models().get(READY)
    if shipped is None:
        raise ReidError(
            f"{_FOLDER / READY / CARD_NAME} is not there: install the package again, or give --model DIR"
        )
    return shipped


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
