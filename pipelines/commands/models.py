"""The commands ``reid models fetch``, ``list`` and ``show``. Heavy imports are inside them, so that
``--help`` is fast.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.errors import UsageError
from reid.files import atomic_directory
from reid.shipped import model_folder, shipped_models
from serving.cli import AsJson

if TYPE_CHECKING:
    from reid.card import ModelCard
    from reid.public import PublicModel

__all__ = ["fetch", "list_models", "show_model"]


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="A public model (`reid models list`), or a backbone, e.g. osnet_x0_25 or timm:NAME."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder that it is written into.")] = Path("weights"),
    mirror: Annotated[
        str | None, typer.Option(help="Address below which NAME/FILE lie, instead of the publisher's.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A file or folder that is here already, instead of an address."),
    ] = None,
) -> None:
    """Get a public model's files, checked, into a folder of its name; or a backbone's ImageNet weights, as a
    safetensors file for ``model.weights``.
    """
    from reid.public import public_models

    if name in public_models():
        _fetch_public(name, out / name, mirror, source)
        return
    shipped = shipped_models().get(name)
    if shipped is not None and (mirror is not None or source is not None):
        raise UsageError(f"{name} comes with the package: leave --mirror and --from out")
    if mirror is not None or source is not None:
        raise UsageError(
            f"no public model is named {name!r}: `reid models list` names them; --mirror and --from are for "
            "them"
        )
    if shipped is not None:
        _copy_shipped(shipped, out / name)
        return
    _fetch_imagenet(name, out)


def _copy_shipped(model: Path, folder: Path) -> None:
    if folder.exists():
        raise UsageError(f"{folder} is there already, with what was written into it: use it, or move it away")
    with atomic_directory(folder) as temporary:
        shutil.copytree(model, temporary, dirs_exist_ok=True)
    typer.echo(str(folder))


def _fetch_public(name: str, folder: Path, mirror: str | None, source: Path | None) -> None:
    from contextlib import ExitStack

    from pipelines.stage.console import progress_bar
    from reid.public import fetch_model, public_model

    model = public_model(name)
    with ExitStack() as bars:
        got = fetch_model(
            name,
            model,
            folder,
            mirror=mirror,
            source=source,
            progress=lambda file: bars.enter_context(progress_bar(file)),
        )
    for one in got:
        checked = (
            f"checked ({model.hash_from or 'the publisher’s hash'})" if one.checked else "no published hash"
        )
        there = "" if one.new else ", was there"
        typer.echo(f"{one.path}: sha256 {one.sha256}, {checked}{there}")
    typer.echo(f"licence: {model.licence}")
    typer.echo(model.use.format(folder=folder))


def _fetch_imagenet(name: str, out: Path) -> None:
    try:
        import torch  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise UsageError(
            "reid models fetch of a backbone needs torch: pip install 'reid-pipeline[train]'"
        ) from error
    from safetensors.torch import save

    from reid.files import atomic_path
    from reid.models.backbones import BACKBONES, build_backbone
    from reid.models.timm_backbone import PREFIX

    if name not in BACKBONES and not name.startswith(PREFIX):
        raise UsageError(
            f"{name!r} is no public model (`reid models list`) and no backbone: choose timm:NAME or one of "
            f"{', '.join(BACKBONES)}"
        )
    backbone, _ = build_backbone(name, "imagenet", 1 if name in BACKBONES else 2)
    path = out / f"{name.replace(':', '_')}.safetensors"
    with atomic_path(path) as temporary:
        # save_file has an error of its own for a full disk
        temporary.write_bytes(save({key: value.contiguous() for key, value in backbone.state_dict().items()}))
    typer.echo(str(path))


def list_models(as_json: AsJson = False) -> None:
    """The model that comes with the package, and public models and detectors that ``fetch`` knows by name."""
    from reid.card import load_card
    from reid.public import public_models

    shipped = {
        name: (load_card(path), sum(file.stat().st_size for file in path.iterdir()))
        for name, path in shipped_models().items()
    }
    if as_json:
        models = {
            name: {"kind": "embedder", "about": card.about, "licence": card.licence, "bytes": size}
            for name, (card, size) in shipped.items()
        }
        models |= {name: model.model_dump(mode="json") for name, model in public_models().items()}
        typer.echo(json.dumps({"models": models}, ensure_ascii=False))
        return
    rows = [
        (name, "shipped", f"{size / 1e6:.1f} MB", "yes", card.licence)
        for name, (card, size) in shipped.items()
    ]
    rows += [
        (name, model.kind, _megabytes(model), _hash(model), model.licence.partition(" (")[0])
        for name, model in public_models().items()
    ]
    for name, kind, size, digest, licence in (("name", "kind", "size", "hash", "licence"), *rows):
        typer.echo(f"{name:36}{kind:10}{size:>9}  {digest:6}{licence}")
    typer.echo("`reid models show NAME` says where one lies, how it is licensed and what it wants")


def show_model(
    model: Annotated[str, typer.Argument(help="A public model, or a model directory.", metavar="NAME|DIR")],
    as_json: AsJson = False,
) -> None:
    """What a public model is and where it lies, or what a model directory's card says."""
    from reid.card import CARD_NAME, load_card
    from reid.public import public_model, public_models

    if model not in public_models() and (model_folder(model) / CARD_NAME).is_file():
        card = load_card(model)
        shown = json.dumps(card.model_dump(mode="json"), ensure_ascii=False) if as_json else _shown(card)
        typer.echo(shown)
        return
    if model not in public_models():
        raise UsageError(
            f"no public model is named {model!r}, and no model directory lies there: `reid models list` "
            f"names them, a directory holds {CARD_NAME}"
        )
    public = public_model(model)
    value = public.model_dump(mode="json")
    said = {"name": model, **value}
    text = json.dumps(said, ensure_ascii=False) if as_json else "\n".join(_public_lines(model, public))
    typer.echo(text)


def _shown(of: "ModelCard") -> str:
    card = of.model_dump(mode="json", exclude={"by_group"})
    empty: tuple[object, ...] = ("", None, [], {}, ())
    shown = {key: value for key, value in card.items() if value not in empty and key != "thresholds"}
    lines = [f"{key}: {_text(value)}" for key, value in shown.items()]
    thresholds = [
        f"threshold: {one['policy']} of {one['unit']}s, distance {one['distance']:.4f} at a false accept "
        f"rate of {one['false_accept_rate']:g}"
        for one in card["thresholds"]
    ]
    lines += thresholds or ["no threshold: `reid calibrate` measures one"]
    return "\n".join(lines + (of.by_group.lines() if of.by_group else []))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {one['path'] if isinstance(one, dict) and 'path' in one else _text(one)}"
            for key, one in value.items()
        )
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _public_lines(name: str, model: "PublicModel") -> list[str]:
    lines = [
        f"{name}: {model.about} ({model.kind})",
        f"publisher: {model.publisher}",
        f"licence: {model.licence}",
        f"input: {model.input}",
    ]
    for file in model.files:
        size = f"{file.bytes} bytes" if file.bytes else "size not published"
        digest = f"{file.digest[0]} {file.digest[1]}" if file.digest else "no published hash"
        lines += [f"file: {file.name}, {size}, {digest}", f"  {file.url}"]
    if model.hash_from:
        lines.append(f"hash from: {model.hash_from}")
    return [*lines, f"use: {model.use.format(folder=f'weights/{name}')}"]


def _megabytes(model: "PublicModel") -> str:
    return "" if model.size is None else f"{model.size / 1e6:.1f} MB"


def _hash(model: "PublicModel") -> str:
    return "yes" if all(file.digest for file in model.files) else "none"
