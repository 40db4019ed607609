"""Parquet files of other people's making: what is wrong with one is one line. Torch-free."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reid.errors import ReidError, UsageError
from reid.text_files import existing

__all__ = ["PARQUET_ERRORS", "read_parquet", "refuse_other"]


PARQUET_ERRORS = (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError)
"""What damaged bytes may raise, which meet the library anywhere; beside ``OSError``, which writing raises,
too.
"""


def read_parquet(
    path: Path | str,
    what: str,
    way_out: str,
    *,
    broken: str = "is damaged",
    schema: pa.Schema | None = None,
    columns: Iterable[str] = (),
    filled: Iterable[str] = (),
    finite: Iterable[str] = (),
    decryption: Any = None,
) -> pa.Table:
    """Read a table and check all of it.

    Args:
        path: of the file.
        what: names it in messages.
        way_out: what to do when it is damaged.
        broken: what is said of a file that cannot be read.
        schema: columns and types that are wanted; nothing else is read. None: the file as it is.
        columns: that must be there where there is no schema.
        filled: columns without a null.
        finite: columns of numbers without NaN and infinity; nulls pass.
        decryption: pyarrow's ``FileDecryptionProperties`` of an encrypted file.

    Raises:
        UsageError: the file does not exist, or is no file.
        ReidError: it is no Parquet file, damaged, or lacks what is wanted.
    """
    path = existing(path, what)
    if not path.is_file():
        raise UsageError(f"{what} {path} is not a file: name a Parquet file")
    try:
        # a relative one that begins with ~ would be taken for somebody's home
        table = pq.read_table(path.absolute(), decryption_properties=decryption)
        table.validate(full=True)  # texts are UTF-8, offsets lie inside
        missing = [name for name in (schema.names if schema else columns) if name not in table.column_names]
        if missing:
            raise ReidError(f"{what} {path} lacks the column {missing[0]!r}: {way_out}")
        if schema is not None:
            table = table.select(schema.names).cast(pa.schema(schema, metadata=table.schema.metadata))
        empty = next((name for name in filled if table[name].null_count), None)
        if empty is None:
            empty = next(
                (name for name in finite if not pc.all(pc.is_finite(table[name]), min_count=0).as_py()), None
            )
    except (*PARQUET_ERRORS, OSError) as error:
        raise ReidError(f"{what} {path} {broken}: {way_out}") from error
    if empty is not None:
        raise ReidError(f"{what} {path} has a row without a value for {empty!r}: {way_out}")
    return table


def refuse_other(path: Path, what: str) -> None:
    """Refuse to replace a file that holds something else than a table, such as a gallery.

    Raises:
        UsageError: it does.
    """
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(4)
        if head not in (b"", b"PAR1"):
            raise UsageError(f"{what} {path} exists and is something else than a table: name a new file")
