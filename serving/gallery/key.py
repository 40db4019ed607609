"""The key of an encrypted gallery: from a file or the environment, never from params, job files or command
lines, never logged.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from reid.errors import ReidError, UsageError
from reid.files import atomic_path, existing
from serving.gallery.database.connect import check_private

__all__ = ["KEY_FILE", "KEY_TEXT", "key_from_environment", "write_key"]

KEY_FILE = "REID_GALLERY_KEY_FILE"
KEY_TEXT = "REID_GALLERY_KEY"
_BYTES = 32


def key_from_environment(environment: Mapping[str, str] | None = None) -> bytes | None:
    """The 32 bytes that the environment names, or None where it names none and galleries are not encrypted.

    ``REID_GALLERY_KEY_FILE`` names a file that only its owner may read, ``REID_GALLERY_KEY`` is the key
    itself; both are 64 hexadecimal digits.

    Raises:
        UsageError: both are set, or the file does not exist.
        ReidError: others may read the file, or it holds no key; no message shows what it holds.
    """
    values = os.environ if environment is None else environment
    name, text = values.get(KEY_FILE), values.get(KEY_TEXT)
    if name and text:
        raise UsageError(f"{KEY_FILE} and {KEY_TEXT} are both set: unset one")
    if not name:
        return _parse(text, KEY_TEXT) if text else None
    path = existing(name, "key file")
    check_private(path, "key file")
    try:
        return _parse(path.read_text(encoding="ascii").strip(), f"key file {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise ReidError(
            f"key file {path} cannot be read as text: make one with `reid gallery key FILE`"
        ) from error


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        # Without `from`: the error of fromhex shows a part of the key.
        raise ReidError(
            f"{where} is no key: want {2 * _BYTES} hexadecimal digits, as `reid gallery key FILE` makes them"
        ) from None
    return key


def write_key(path: Path) -> None:
    """Write a new random key to a file that only its owner may read.

    Raises:
        UsageError: the file exists; overwriting a key would lose every gallery encrypted with it.
    """
    if path.exists():
        raise UsageError(
            f"{path} exists: name a new file, overwriting a key loses the galleries encrypted with it"
        )
    with atomic_path(path, mode=0o600) as temporary:
        temporary.write_text(f"{secrets.token_hex(_BYTES)}\n", encoding="ascii")
