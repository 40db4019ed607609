"""Tables with embeddings in a job's output: encrypted where the environment has the key of encrypted
galleries, and read back whether they are or not.

Encrypted files are those of Parquet's modular encryption (AES-GCM over every part, the footer included) under
a key that is derived from the gallery's, so that no key serves two ciphers.
"""

import hmac
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reid.errors import ReidError, UsageError
from reid.parquet import read_parquet
from serving.gallery import KEY_FILE, key_from_environment

__all__ = ["is_sealed", "opening", "read_sealed", "write_sealed"]

_MAGIC = b"PARE"  # first bytes of a Parquet file whose footer is encrypted


def write_sealed(table: pa.Table, path: Path) -> None:
    """Write a table, encrypted where the environment has a key."""
    key = key_from_environment()
    pq.write_table(table, path, encryption_properties=None if key is None else _properties("encryption", key))


def is_sealed(path: Path) -> bool:
    """Whether a file is an encrypted table."""
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def opening(path: Path, what: str) -> Any:
    """What ``pyarrow`` needs to decrypt a file; None for one that is not encrypted.

    Raises:
        ReidError: it is encrypted and the environment has no key.
    """
    if not path.is_file() or not is_sealed(path):
        return None
    key = key_from_environment()
    if key is None:
        raise ReidError(f"{what} {path} is encrypted: set {KEY_FILE} to the file of its key")
    return _properties("decryption", key)


def read_sealed(path: Path, what: str, way_out: str, **checks: Any) -> pa.Table:
    """As :func:`reid.parquet.read_parquet`, decrypted where it is encrypted.

    Raises:
        UsageError: there is no such file.
        ReidError: it is damaged, or encrypted with another key.
    """
    decryption = opening(path, what)
    broken = "is damaged" if decryption is None else "is damaged, or encrypted with another key"
    return read_parquet(path, what, way_out, broken=broken, decryption=decryption, **checks)


def _properties(kind: str, key: bytes) -> Any:
    from pyarrow.parquet import encryption  # loads a library that few need

    make = getattr(encryption, f"create_{kind}_properties", None)
    if make is None:
        raise UsageError(
            "encrypted embeddings need pyarrow 25 or later: pip install 'reid-pipeline[encryption]'"
        )
    return make(hmac.digest(key, b"embeddings of a job's sightings", "sha256"))
