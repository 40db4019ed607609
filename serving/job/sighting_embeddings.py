"""``embeddings.parquet`` of a job's output: the embedding of every sighting, so that somebody can be looked
for later.

Only its owner can read the file. It goes with the output folder, and may be deleted alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reid.errors import ReidError, UsageError
from reid.files import atomic_path
from reid.parquet import read_parquet
from serving.gallery import check_private

__all__ = ["read_embeddings", "write_embeddings"]

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
        pq.write_table(table, temporary)


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
    check_private(path, "file")
    table = read_parquet(path, "file", _WAY_OUT, columns=("camera", "tracklet", "embedding"))
    fingerprint = (table.schema.metadata or {}).get(b"fingerprint")
    kind = table.schema.field("embedding").type
    whole = pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float16()
    whole &= table.schema.field("camera").type == pa.string()
    whole &= table.schema.field("tracklet").type == pa.int64()
    if fingerprint is None or not whole or any(column.null_count for column in table.columns):
        raise ReidError(f"{path} is not what a job wrote: {_WAY_OUT}")
    rows = (
        pc.list_flatten(table["embedding"]).to_numpy().astype(np.float32).reshape(len(table), kind.list_size)
    )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < 0.5).any():
        raise ReidError(f"{path} holds embeddings that are none: {_WAY_OUT}")
    who = list(zip(table["camera"].to_pylist(), table["tracklet"].to_pylist(), strict=True))
    return who, rows / norms, fingerprint.decode("utf-8", "replace")
