"""A Parquet file of embeddings, made in parts, so that a killed run goes on where it stopped."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reid.data.catalog import readable
from reid.data.datasets.files import find_images
from reid.errors import ReidError, UsageError
from reid.files import atomic_path, is_there, make_parents, read_json, remove_empty, write_json
from reid.parquet import refuse_other
from reid.system_errors import os_problem
from serving.embedding.files import Unreadable, embed_files
from serving.runtime import Embedder

__all__ = ["EmbeddingFile", "collect_images", "embed_to_file"]

_PART_IMAGES = 1024
_PLAN = "plan.json"
_FORMAT = 1  # of the parts
_UNREADABLE = "unreadable"


class NothingReadableError(ReidError):
    """No image of all can be read."""


@dataclass(frozen=True, slots=True)
class EmbeddingFile:
    """What was written."""

    path: Path
    rows: int
    resumed: int  # images whose embeddings an earlier, unfinished run had made
    unreadable: tuple[Unreadable, ...]


def collect_images(arguments: Sequence[Path], warn: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Image files from files and folders, in the order given, each once; folders are searched to the bottom
    as `reid.data` does.

    ``warn`` is called with a line on what a system or a download left there.

    Raises:
        UsageError: a path does not exist, or there is no image.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        if not argument.exists():
            raise UsageError(f"{argument} does not exist: name image files or folders of images")
        if not argument.is_dir():
            found[argument] = None
            continue
        content = find_images(argument)
        found.update(dict.fromkeys(content.images))
        if (line := content.by_system()) is not None:
            warn(line)
    if not found:
        raise UsageError(
            f"{', '.join(map(str, arguments))}: no image inside, name image files or folders of images"
        )
    return list(found)


def embed_to_file(
    embedder: Embedder,
    paths: Sequence[Path],
    output: Path | str,
    *,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    part_images: int = _PART_IMAGES,
) -> EmbeddingFile:
    """Write ``path`` and ``embedding`` of every readable image to Parquet; only the owner can read it.

    Parts lie in ``<output>.parts`` until all are done. A later call with the same images (path, size, time of
    change) and model takes over what is there; any other call begins anew.

    Raises:
        ReidError: not one image can be read, the model fails, or a file's name is not UTF-8.
    """
    foreign = [path for path in paths if readable(path) != str(path)]
    if foreign:  # known before the long work
        raise ReidError(
            f"{len(foreign)} of {len(paths)} file names are not UTF-8, the first: {readable(foreign[0])}; "
            "a Parquet file cannot hold them: rename them, e.g. with convmv -f latin1 -t utf8"
        )
    # a relative one might begin with ~, which pyarrow takes for somebody's home
    given, output = (
        Path(output),
        Path(output).absolute(),
    )
    if not output.name or output.is_dir():
        raise UsageError(f"output {output} is a folder: name a file ending in .parquet")
    refuse_other(output, "output")
    folder = output.with_name(f"{output.name}.parts")
    try:
        made = make_parents(output)
    except OSError as error:
        raise os_problem(error, output) from error
    try:
        _begin(folder, _plan_key(embedder, paths, part_images))
    except BaseException:
        remove_empty(made)
        raise
    try:
        return replace(
            _embed_parts(embedder, paths, output, folder, threads, on_progress, part_images), path=given
        )
    except BaseException:
        if not any(folder.glob("*.parquet")):  # there is nothing to go on with
            shutil.rmtree(folder, ignore_errors=True)
            remove_empty(made)
        raise


def _embed_parts(
    embedder: Embedder,
    paths: Sequence[Path],
    output: Path,
    folder: Path,
    threads: int | None,
    on_progress: Callable[[int, int], None] | None,
    part_images: int,
) -> EmbeddingFile:
    resumed = 0
    parts = []
    for start in range(0, len(paths), part_images):
        part = folder / f"{start:010d}.parquet"
        chunk = paths[start : start + part_images]
        if part.exists():
            resumed += len(chunk)
        else:
            with atomic_path(part, mode=0o600) as temporary:
                pq.write_table(
                    _part(embedder, chunk, threads, _shifted(on_progress, start, len(paths))), temporary
                )
        if on_progress is not None:
            on_progress(start + len(chunk), len(paths))
        parts.append(part)
    facts = {
        "fingerprint": embedder.fingerprint,
        "model": embedder.card.name,
        "precision": embedder.precision,
    }
    try:
        rows, unreadable = _join(parts, output, facts, embedder.dim)
    except NothingReadableError:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
    return EmbeddingFile(output, rows, resumed, unreadable)


def _plan_key(embedder: Embedder, paths: Sequence[Path], part_images: int) -> str:
    digest = hashlib.sha256(
        f"{_FORMAT} {embedder.fingerprint} {embedder.backend} {embedder.precision} {part_images}\n".encode()
    )
    for path in paths:
        facts = path.stat() if path.exists() else None
        digest.update(f"{path}\0{facts and (facts.st_size, facts.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def _begin(folder: Path, key: str) -> None:
    plan = folder / _PLAN
    if plan.is_file() and not folder.is_symlink() and read_json(plan, "plan") == {"key": key}:
        return
    if folder.is_symlink() or (is_there(folder, "output") and not folder.is_dir()):
        raise UsageError(f"{folder} is in the way: move it")
    if folder.exists():
        if not plan.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is in the way and not from an earlier run: move it")
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise os_problem(error, folder) from error
    try:
        write_json(plan, {"key": key})
    except BaseException:
        folder.rmdir()
        raise


def _shifted(
    on_progress: Callable[[int, int], None] | None, start: int, total: int
) -> Callable[[int, int], None] | None:
    return None if on_progress is None else lambda done, _: on_progress(start + done, total)


def _part(
    embedder: Embedder,
    paths: Sequence[Path],
    threads: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> pa.Table:
    """The readable images' embeddings; what could not be read stands in the schema's metadata."""
    result = embed_files(embedder, paths, threads=threads, on_progress=on_progress)
    kind = pa.list_(pa.float32(), embedder.dim)
    values = pa.FixedSizeListArray.from_arrays(pa.array(result.embeddings.ravel()), type=kind)
    table = pa.table(
        {"path": pa.array([str(path) for path in result.paths], pa.string()), "embedding": values}
    )
    lost = [(str(one.path), one.reason) for one in result.unreadable]
    return table.replace_schema_metadata({_UNREADABLE: json.dumps(lost)})


def _join(
    parts: Sequence[Path], output: Path, facts: dict[str, str], dim: int
) -> tuple[int, tuple[Unreadable, ...]]:
    schema = pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32(), dim))], metadata=facts)
    rows = 0
    unreadable: list[Unreadable] = []
    with atomic_path(output, mode=0o600) as temporary:
        with pq.ParquetWriter(temporary, schema) as writer:
            for part in parts:
                table = pq.read_table(part)
                unreadable += [
                    Unreadable(Path(path), reason)
                    for path, reason in json.loads(table.schema.metadata[_UNREADABLE.encode()])
                ]
                rows += table.num_rows
                writer.write_table(table.replace_schema_metadata(facts))
        if not rows:
            raise NothingReadableError(
                f"not one of {len(unreadable)} images can be read; the first: {unreadable[0].reason}"
            )
    return rows, tuple(unreadable)
