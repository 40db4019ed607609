import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reid.errors import ReidError, UsageError
from reid.files import allocate, atomic_directory, atomic_path, read_json, read_yaml, write_json
from reid.text_files import read_object


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
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret.txt", "open.txt")] == [
        0o600,
        0o666,
    ]


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
    assert (
        json.loads((tmp_path / "a.json").read_text())
        == read_json(tmp_path / "a.json")
        == {"a": [1.5, None], "b": 1}
    )
    with pytest.raises(UsageError, match=r"selection .*b\.json does not exist"):
        read_json(tmp_path / "b.json", "selection")
    (tmp_path / "b.json").write_bytes(b"{")
    with pytest.raises(ReidError, match="is not JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "c.json", float("nan"))
    assert not (tmp_path / "c.json").exists()


def test_a_private_folder_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with atomic_directory(tmp_path / "people", private=True) as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            (folder / "crops").mkdir()
            (folder / "crops" / "a.jpg").write_bytes(b"x")
    finally:
        os.umask(mask)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "people", *(tmp_path / "people").rglob("*")]
    }
    assert modes == {"people": 0o700, "crops": 0o700, "a.jpg": 0o600}


@pytest.mark.parametrize("name", ["", ".", "..", "../", "/"])
def test_a_folder_above_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="present folder or above it"), atomic_directory(name):
        pass
    with pytest.raises(UsageError, match="is a folder"), atomic_path(name):
        pass


def test_a_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(UsageError, match="is a link"), atomic_directory(tmp_path / "link"):
        pass
    assert (tmp_path / "link").is_symlink()


def unwritable(folder: Path) -> Path:
    """A place below a file: nobody can write there, root neither."""
    (folder / "file").write_text("x")
    return folder / "file" / "out"


def test_what_cannot_be_written_is_one_line_with_the_way_out(tmp_path: Path) -> None:
    with (
        pytest.raises(ReidError, match=r"file/out/a\.txt cannot be used .*a part of the path is a file"),
        atomic_path(unwritable(tmp_path) / "a.txt"),
    ):
        pass
    with (
        pytest.raises(ReidError, match=r"file/out cannot be used .*a part of the path is a file"),
        atomic_directory(unwritable(tmp_path)),
    ):
        pass
    with pytest.raises(ReidError, match="name a shorter path"), atomic_path(tmp_path / ("n" * 10_000)):
        pass


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    with atomic_path(tmp_path / ("n" * 251 + ".txt")) as temporary:
        temporary.write_text("x")
    with atomic_directory(tmp_path / ("d" * 255)) as folder:
        (folder / "x").write_text("x")
    assert {len(path.name) for path in tmp_path.iterdir()} == {255}


def test_errors_about_what_is_read_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "source").read_text()


NESTED = 5000
BAD_YAML = {
    "nested": "[" * NESTED,
    "mapped": "\n".join(" " * depth + "a:" for depth in range(500)),
    "month 13": "a: 2026-13-40",
    "0x": "a: 0x_",
    "0b": "a: 0b_",
    "digits": f"a: {'9' * 5000}",
    "beyond 64 bits": f"a: {2**64}",
    "holds itself": "a: &a [*a]",
    "aliases": "a: &a [1,1,1,1,1,1,1,1,1]\n"
    + "\n".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]" for n in range(9)),
    "tag": "!!python/object/apply:os.system [ls]",
    "tab": "\t-",
}


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML)
def test_yaml_that_no_honest_file_holds_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"job file .*job\.yaml") as raised:
        read_yaml(tmp_path / "job.yaml", "job file")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700


@pytest.mark.parametrize(
    "text",
    ["[" * NESTED, '{"a":' * NESTED, f'{{"a": {"9" * 5000}}}', f"[{2**64}]", '{"a": }', ""],
    ids=lambda text: text[:8],
)
def test_json_that_no_honest_file_holds_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ReidError, match=r"card .*a\.json") as raised:
        read_json(tmp_path / "a.json", "card")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("reader", [read_json, read_yaml])
def test_what_is_no_file_is_one_line(tmp_path: Path, reader: Callable[[Path, str], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a device or a pipe"),
        (tmp_path / ("n" * 10_000), "shorter path"),
    ):
        with pytest.raises(ReidError, match=reason):
            reader(path, "file")
    (tmp_path / "latin1").write_bytes(b"a: \xe9")
    with pytest.raises(ReidError, match="is not text"):
        reader(tmp_path / "latin1", "file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("no small disk can be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk: Path) -> None:
    with (
        pytest.raises(
            ReidError, match=r"big\.bin cannot be written \(No space left on device\): free some space"
        ),
        atomic_path(small_disk / "big.bin") as temporary,
    ):
        temporary.write_bytes(bytes(2**21))
    with (
        pytest.raises(ReidError, match=r"big cannot be written \(No space left on device\)"),
        atomic_directory(small_disk / "big") as folder,
    ):
        (folder / "a").write_bytes(bytes(2**21))
    assert not list(small_disk.iterdir())


def test_a_memory_map_on_a_full_disk_raises_and_does_not_end_the_process(small_disk: Path) -> None:
    with pytest.raises(ReidError, match="No space left"), atomic_path(small_disk / "map.bin") as temporary:
        with temporary.open("wb") as stream:
            stream.truncate(2**21)
        allocate(temporary, 2**21)
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("text", ["3", '"chosen"', "[]", "{}", '{"chosen": 3}'])
def test_a_record_of_another_shape_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "selection.json").write_text(text)
    with pytest.raises(ReidError, match=r"selection .*selection\.json does not say 'chosen'"):
        read_object(tmp_path / "selection.json", "selection", chosen=str)
    (tmp_path / "selection.json").write_text('{"chosen": "batch_hard"}')
    assert read_object(tmp_path / "selection.json", "selection", chosen=str) == {"chosen": "batch_hard"}
