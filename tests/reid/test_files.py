import json
import os
import stat
from pathlib import Path

import pytest

from reid.errors import ReidError, UsageError
from reid.files import atomic_directory, atomic_path, read_json, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_private_file_is_private_from_its_first_moment(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with atomic_path(tmp_path / "secret.txt", mode=0o600) as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        with atomic_path(tmp_path / "open.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(mask)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret.txt", "open.txt")] == [0o600, 0o666]


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("one", "two"):
        with atomic_directory(target) as temporary:
            (temporary / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["two"]
    with pytest.raises(RuntimeError), atomic_directory(target) as temporary:
        (temporary / "three").write_text("half")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_json_round_trip_and_errors(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == read_json(tmp_path / "a.json") == {"a": [1.5, None], "b": 1}
    with pytest.raises(UsageError, match=r"selection .*b\.json does not exist"):
        read_json(tmp_path / "b.json", "selection")
    (tmp_path / "b.json").write_bytes(b"{")
    with pytest.raises(ReidError, match="is not JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "c.json", float("nan"))
    assert not (tmp_path / "c.json").exists()
