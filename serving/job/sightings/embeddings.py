"""``embeddings.parquet`` of a job's output: the embedding of every sighting, so that somebody can be looked
for later.

Only its owner can read the file, and with the key of encrypted galleries it is encrypted. It goes with the
output folder, may be deleted alone, and loses the rows of people who are erased.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reid.errors import ReidError, UsageError
from reid.files import atomic_path
from serving.gallery import check_private
from serving.job.encryption import read_sealed, write_sealed

__all__ = ["keep_embeddings", "read_embeddings", "write_embeddings"]

_WAY_OUT = "run the job again"


def write_embeddings(
    path: Path, sightings: Sequence[tuple[str, int]], embeddings: npt.NDArray[np.float32], fingerprint: str
) -> None:
    """Write the embeddings of a job's sightings, private, in 16 bits: a distance changes by less than 0.001.

    Args:
        path: of the file.
        sightings: camera and number of each.
        embeddings: (N, D) L2-normalised.
        fingerprint: of the model.
    """
    dim = embeddings.shape[1]
    values = pa.array(embeddings.astype(np.float16).ravel()[: len(sightings) * dim], pa.float16())
    columns = {
        "camera": pa.array([camera for camera, _ in sightings], pa.string()),
        "tracklet": pa.array([number for _, number in sightings], pa.int64()),
        "embedding": pa.FixedSizeListArray.from_arrays(values, dim),
    }
    table = pa.table(columns, metadata={"fingerprint": fingerprint})
    with atomic_path(path, mode=0o600) as temporary:
        write_sealed(table, temporary)


def keep_embeddings(source: Path, path: Path, kept: Collection[tuple[str, int]]) -> int:
    """Write the rows of some sightings, camera and number, to ``path``; returns how many are left out.

    Raises:
        ReidError: ``source`` is damaged, or others may read it.
    """
    table = _checked(source)
    rows = zip(table["camera"].to_pylist(), table["tracklet"].to_pylist(), strict=True)
    left = table.filter(pa.array([row in kept for row in rows], pa.bool_()))
    with atomic_path(path, mode=0o600) as temporary:
        write_sealed(left, temporary)
    return int(table.num_rows - left.num_rows)


def read_embeddings(path: Path) -> tuple[list[tuple[str, int]], npt.NDArray[np.float32], str]:
    """What ``write_embeddings`` wrote: sightings, embeddings (N, D) L2-normalised, and the fingerprint.

    Raises:
        UsageError: there is no such file.
        ReidError: it is damaged, or others may read it.
    """
    if not path.is_file():
        raise UsageError(
            f"{path.parent} holds no {path.name}: name the output folder of a job, and run a job without "
            "it again (outputs.embeddings)"
        )
    table = _checked(path)
    size = table.schema.field("embedding").type.list_size
    rows = pc.list_flatten(table["embedding"]).to_numpy().astype(np.float32).reshape(len(table), size)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < 0.5).any():
        raise ReidError(f"{path} holds embeddings that are none: {_WAY_OUT}")
    who = list(zip(table["camera"].to_pylist(), table["tracklet"].to_pylist(), strict=True))
    return who, rows / norms, table.schema.metadata[b"fingerprint"].decode("utf-8", "replace")


def _checked(path: Path) -> pa.Table:
    check_private(path, "file")
    table = read_sealed(path, "file", _WAY_OUT, columns=("camera", "tracklet", "embedding"))
    kind = table.schema.field("embedding").type
    whole = pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float16()
    whole &= table.schema.field("camera").type == pa.string()
    whole &= table.schema.field("tracklet").type == pa.int64()
    whole &= b"fingerprint" in (table.schema.metadata or {})
    if not whole or any(column.null_count for column in table.columns):
        raise ReidError(f"{path} is not what a job wrote: {_WAY_OUT}")
    return table
