"""Bad inputs: one thing about a valid folder or command made wrong, by a random generator."""

import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

__all__ = ["EVIL", "damage_environment", "damage_file", "evil_word"]

EVIL: list[Any] = [
    *(
        0,
        -1,
        1,
        2**31,
        2**63,
        2**64,
        -(2**70),
        10**30,
        0.5,
        -0.0,
        1e308,
        float("inf"),
        float("nan"),
        True,
        None,
    ),
    *(
        "",
        ".",
        "..",
        "/",
        "~nobody",
        "~nobody/x",
        "n" * 10_000,
        "a/" * 3_000,
        "a\nb",
        "\u202eanna",
        "<script>x</script>",
        "$x^",
        "💥",
        "%s{0}",
    ),
    *(
        "-",
        "--",
        "*",
        "**",
        "**/*",
        "a**b",
        "[",
        "images/*",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/proc/self/mem",
        "1e400",
        "-1e400",
    ),
    *(
        "rtsp://[::1",
        "http://",
        "concat:a|b",
        "file:///etc/passwd",
        "nan",
        "inf",
        "0x",
        "0b",
        "9" * 5_000,
        "2026-13-40",
        "images",
        "unknown",
    ),
    *(
        [],
        {},
        [[]],
        [1, 2, 3],
        {"a": 1},
        [["a"] * 3] * 2,
        "gallery.db",
        "job.yaml",
        "model",
        "link",
        "loop",
        "pipe",
    ),
]
RAW_YAML = [
    "0x_",
    "0b_",
    "9" * 5_000,
    "2026-13-40",
    "1e400",
    ".inf",
    ".nan",
    "[" * 2_000,
    "&a [*a]",
    "!!python/object:os.x {}",
    "\t-",
    "{",
    "~",
]
RAW_JSON = [
    "9" * 5_000,
    "1e400",
    "NaN",
    "Infinity",
    "[" * 2_000,
    '{"a":' * 2_000,
    '"\\ud800"',
    "[1,2]",
    "3",
    "null",
    '"text"',
    "{}",
]


def evil_word(rng: random.Random) -> str:
    """Something for a command line, where everything is text without a NUL."""
    return str(rng.choice(EVIL))


def damage_file(path: Path, rng: random.Random) -> str:
    """Make a file wrong, by its kind or by its bytes; returns what was done."""
    ways: list[Callable[[Path, random.Random], str]] = [_bytes] * 2 + [_instead]
    kind = {".yaml": _yaml, ".json": _json, ".db": _database, ".parquet": _table, ".txt": _lines}.get(
        path.suffix
    )
    ways += [kind] * 5 if kind else []
    return rng.choice(ways)(path, rng)


def _bytes(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    how = rng.choice(["empty", "cut", "flip", "zeros", "noise", "twice"])
    at = rng.randrange(len(data) or 1)
    if how == "empty":
        data.clear()
    elif how == "cut":
        del data[at:]
    elif how == "twice":
        data = data * 2
    else:
        for _ in range(rng.choice([1, 8, 64])):
            at = rng.randrange(len(data) or 1)
            end = min(len(data), at + rng.choice([1, 4, 32]))
            data[at:end] = bytes(end - at) if how == "zeros" else rng.randbytes(end - at)
    _rewrite(path, bytes(data))
    return f"bytes: {how}"


def _instead(path: Path, rng: random.Random) -> str:
    how = rng.choice(["gone", "folder", "link to itself", "link to nothing", "pipe", "other"])
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "link to itself":
        path.symlink_to(path.name)
    elif how == "link to nothing":
        path.symlink_to("nothing")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "other":
        names = sorted(one.name for one in path.parent.iterdir() if one.is_file())
        path.write_bytes((path.parent / rng.choice(names)).read_bytes() if names else b"")
    return f"instead: {how}"


def _rewrite(path: Path, data: bytes) -> None:
    mode = path.stat().st_mode
    path.unlink()  # the template's bytes are shared by hard links
    path.write_bytes(data)
    path.chmod(mode)


def _changed(value: Any, rng: random.Random) -> Any:
    """A parsed value with one part replaced, removed, added or renamed."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(EVIL)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    how = rng.random()
    if how < 0.1:
        del value[key]
    elif how < 0.2 and isinstance(value, dict):
        value[str(rng.choice(EVIL))] = value.pop(key)
    elif how < 0.25 and isinstance(value, list):
        value.append(value[key])
    else:
        value[key] = _changed(value[key], rng)
    return value


def _yaml(path: Path, rng: random.Random) -> str:
    value = yaml.safe_load(path.read_text())
    if rng.random() < 0.3:
        lines = path.read_text().splitlines()
        at = rng.randrange(len(lines))
        lines[at] = f"{lines[at].partition(':')[0]}: {rng.choice(RAW_YAML)}"
        text = "\n".join(lines)
    else:
        text = yaml.safe_dump(_changed(value, rng), sort_keys=False, allow_unicode=True)
    _rewrite(path, text.encode("utf-8", "surrogatepass"))
    return "yaml"


def _json(path: Path, rng: random.Random) -> str:
    if rng.random() < 0.3:
        text = path.read_text()
        parts = text.split(",")
        at = rng.randrange(len(parts))
        parts[at] = (
            f"{parts[at].partition(':')[0]}: {rng.choice(RAW_JSON)}"
            if rng.random() < 0.7
            else rng.choice(RAW_JSON)
        )
        text = ",".join(parts) if rng.random() < 0.7 else rng.choice(RAW_JSON)
    else:
        text = json.dumps(_changed(json.loads(path.read_text()), rng))
    _rewrite(path, text.encode())
    return "json"


def _database(path: Path, rng: random.Random) -> str:
    """A change that SQLite itself finds nothing wrong with."""
    _rewrite(path, path.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        tables = [
            row[0]
            for row in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        ]
        table = rng.choice(tables)
        column = rng.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
        values = [
            "NULL",
            "0",
            "-1",
            "9223372036854775807",
            "1e308",
            "1e999",
            "''",
            "'x'",
            "x''",
            "x'00ff'",
            "zeroblob(100)",
        ]
        values += ["CAST(x'ff41' AS TEXT)", "CAST(x'00' AS TEXT)", f"'{'n' * 10_000}'", "'unknown'"]
        what = rng.choice(
            [
                *[
                    (
                        f"UPDATE {table} SET {column} = {rng.choice(values)} WHERE rowid IN (SELECT rowid "
                        f"FROM {table} LIMIT 1)"
                    )
                ]
                * 3,
                *[f"UPDATE {table} SET {column} = {rng.choice(values)}"] * 3,
                *[
                    f"DELETE FROM {table} WHERE {column} IN (SELECT {column} FROM {table} LIMIT 1)",
                    f"DELETE FROM {table}",
                    f"DROP TABLE {table}",
                ],
                *[
                    f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                    f"INSERT INTO {table} SELECT * FROM {table}",
                ],
                *[
                    f"PRAGMA user_version = {rng.choice([0, 1, 3, 2**31 - 1])}",
                    f"PRAGMA application_id = {rng.randrange(9)}",
                ],
                (
                    f"UPDATE meta SET value = {rng.choice(['NULL', '-1', '9223372036854775807', '1'])} "
                    f"WHERE key = '{rng.choice(['version', 'rewritten', 'purge_pending', 'retain_days'])}'"
                ),
            ]
        )
        try:
            db.execute("PRAGMA foreign_keys = OFF")
            for trigger in ("audit_keeps_rows", "audit_keeps_values"):
                db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
            db.execute(what)
            db.commit()
        except sqlite3.Error as error:
            return f"sql refused: {error}"
    return what[:120]


def _table(path: Path, rng: random.Random) -> str:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        return _bytes(path, rng)
    name = rng.choice(table.column_names)
    at = table.column_names.index(name)
    how = rng.choice(["drop", "null", "text", "rename", "no rows", "metadata", "one null", "evil", "nested"])
    if how == "drop":
        table = table.drop_columns([name])
    elif how == "null":
        table = table.set_column(at, name, pa.nulls(table.num_rows, table.schema.field(name).type))
    elif how == "text":
        table = table.set_column(at, name, pa.array(["x"] * table.num_rows))
    elif how == "rename":
        table = table.rename_columns([f"{one}x" if one == name else one for one in table.column_names])
    elif how == "no rows":
        table = table.slice(0, 0)
    elif how == "metadata":
        table = table.replace_schema_metadata(
            {"fingerprint": "\u202e", "retain_days": rng.choice(["x", "9" * 30, "-1"]), "series": ""}
        )
    elif table.num_rows:
        values: list[Any] = table[name].to_pylist()
        evil = [
            None,
            "",
            "n" * 10_000,
            "../../x",
            "/etc/passwd",
            0,
            -1,
            2**62,
            float("nan"),
            float("inf"),
            "a\0b",
            "unknown",
            "nowhere",
            [1.0],
        ]
        values[rng.randrange(len(values))] = None if how == "one null" else rng.choice(evil)
        try:
            table = table.set_column(
                at, name, pa.array(values, None if how == "nested" else table.schema.field(name).type)
            )
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return _bytes(path, rng)
    path.unlink()
    pq.write_table(table, path)
    path.chmod(0o600)
    return f"table: {how} {name}"


def _lines(path: Path, rng: random.Random) -> str:
    lines = path.read_text().splitlines()
    at = rng.randrange(len(lines))
    parts = lines[at].split(",")
    parts[rng.randrange(len(parts))] = evil_word(rng).replace("\n", " ")
    lines[at] = ",".join(parts)
    _rewrite(path, "\n".join(lines).encode("utf-8", "surrogatepass"))
    return "line"


def damage_environment(place: Path, rng: random.Random) -> dict[str, str | None]:
    """Variables to set, or to unset where None."""
    return rng.choice(
        [
            {"HOME": None, "XDG_CACHE_HOME": None},
            {"XDG_CACHE_HOME": str(place / "gt.txt")},
            {"XDG_CACHE_HOME": "/proc/nothing"},
            {"TMPDIR": "/nowhere"},
            {"REID_GALLERY_KEY": rng.choice(["x", "0" * 64, "0" * 63, "é" * 64, "n" * 10_000])},
            {
                "REID_GALLERY_KEY_FILE": rng.choice(
                    ["", "nothing", "/dev/zero", str(place), str(place / "gallery.key"), "n" * 10_000]
                )
            },
            {"REID_GALLERY_KEY": "0" * 64, "REID_GALLERY_KEY_FILE": str(place / "gallery.key")},
            {"COLUMNS": rng.choice(["0", "-1", "x", "1", "1000000"])},
            {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
            {"TERM": "dumb", "NO_COLOR": "1"},
            {"RAY_ADDRESS": "nowhere:1"},
        ]
    )
