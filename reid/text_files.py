"""Text files of other people's making: JSON, YAML, lists. What is wrong with one is one line, however wrong
it is. Torch-free.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from reid.errors import ReidError, UsageError
from reid.system_errors import os_problem, shown

__all__ = ["existing", "is_there", "read_json", "read_object", "read_text", "read_yaml", "sha256_of"]

_DEEPEST = 100
_MOST_VALUES = 1_000_000
_LARGEST_INT = 2**63
_MOST_BYTES = 2**28


def read_json(path: Path | str, what: str = "file") -> Any:
    """Read a JSON file; ``what`` names it in the message.

    Raises:
        UsageError: the file does not exist.
        ReidError: the file is not JSON, or nested or large beyond measure.
    """
    text = read_text(path, what)
    try:
        value = json.loads(text)
    # ValueError: an integer of thousands of digits, too.
    except (ValueError, RecursionError) as error:
        raise ReidError(
            f"{what} {path} is not JSON ({_one_line(error)}): write it again or restore it"
        ) from error
    problem = _beyond_measure(value)
    if problem:
        raise ReidError(f"{what} {path} {problem}: write it again or restore it")
    return value


def read_object(path: Path | str, what: str, **wanted: type) -> dict[str, Any]:
    """Read a JSON object that a stage wrote, in which other stages rely on these keys and their kinds; raises
    as :func:`read_json`.
    """
    value = read_json(path, what)
    lacking = [
        key
        for key, kind in wanted.items()
        if not isinstance(value, dict) or not isinstance(value.get(key), kind)
    ]
    if lacking:
        raise ReidError(
            f"{what} {path} does not say {lacking[0]!r} as a stage writes it: run that stage again"
        )
    found: dict[str, Any] = value
    return found


def read_yaml(path: Path | str, what: str = "file") -> Any:
    """Read a YAML file; ``what`` names it in the message.

    Raises:
        UsageError: the file does not exist, is not YAML, or is nested or large beyond measure.
    """
    import yaml

    try:
        text = read_text(path, what)
    except ReidError as error:
        raise UsageError(str(error)) from error
    try:
        value = yaml.safe_load(text)
    # ValueError: a date of month 13, the number 0x, an integer of thousands of digits.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{what} {path} is not YAML: {_one_line(error)}") from error
    problem = _beyond_measure(value)
    if problem:
        raise UsageError(f"{what} {path} {problem}")
    return value


def read_text(path: Path | str, what: str = "file") -> str:
    """The text of a UTF-8 file; ``what`` names it in the message.

    Raises:
        UsageError: the file does not exist.
        ReidError: it cannot be read, or is no text.
    """
    path = existing(path, what)
    if not path.is_file():
        raise UsageError(
            f"{what} {path} is {'a folder' if path.is_dir() else 'a device or a pipe'}: name a file"
        )
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ReidError(
                f"{what} {path} has {path.stat().st_size:,} bytes: it cannot be what it should be, "
                "check the path"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ReidError(
            f"{what} {path} is not text ({_one_line(error)}): name another file or restore it"
        ) from error
    except OSError as error:
        raise os_problem(error, path) from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return shown(" ".join(str(error).split()))


def _beyond_measure(value: Any) -> str | None:
    """What in a parsed file no honest one holds: the programs behind it would fail on it, or never end."""
    left, seen = [(value, 0)], 0
    while left:
        one, depth = left.pop()
        seen += 1
        if depth > _DEEPEST:  # also a YAML alias that holds itself
            return f"is nested deeper than {_DEEPEST} levels"
        if seen > _MOST_VALUES:  # or stands for many by aliases of aliases
            return f"holds more than {_MOST_VALUES:,} values"
        if isinstance(one, int) and abs(one) >= _LARGEST_INT:
            return "holds an integer beyond 64 bits"
        if isinstance(one, dict):
            left += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple | set):
            left += [(part, depth + 1) for part in one]
    return None


def existing(path: Path | str, what: str = "file") -> Path:
    """Return ``path`` as a Path.

    Raises:
        UsageError: nothing is there.
    """
    path = Path(path)
    if not is_there(path, what):
        raise UsageError(f"{what} {shown(str(path))} does not exist: check the path")
    return path


def is_there(path: Path, what: str = "file") -> bool:
    """Whether something has this name.

    Raises:
        UsageError: nothing can: the name is too long, or the folder is another's.
    """
    try:
        return path.exists()
    except OSError as error:
        raise UsageError(f"{what} {os_problem(error, path)}") from error


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
