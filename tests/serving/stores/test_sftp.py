"""Footage and outputs on an SFTP server: what a job finds, what breaks off, and what is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml

from reid.errors import ReidError, UsageError
from serving.cli.job import match
from serving.stores import StoredFile, StoredFolder, listed
from serving.stores.blocks import BLOCK, Blocks
from tests.serving.bucket import CuttingProxy
from tests.serving.execution_job import SEGMENT_S, make_place, same_rows

pytest.importorskip("paramiko", reason="the driver of sftp:// is not installed: reid-pipeline[sftp]")
asyncssh = pytest.importorskip("asyncssh", reason="the SFTP server of the tests is not installed")

from tests.serving.sftp_server import PASSPHRASE, PASSWORD, Server, sftp_server  # noqa: E402


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with sftp_server(tmp_path / "home", patch) as one:
            yield one


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.bin"
    path.write_bytes(np.random.default_rng(0).bytes(BLOCK + 1000))
    return path


def test_a_job_reads_there_and_leaves_its_output_there(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, there = make_place(tmp_path, cameras=1), tmp_path / "server"
    job = yaml.safe_load((place / "job.yaml").read_text()) | {"backend": "onnxruntime"}
    (place / "here.yaml").write_text(yaml.safe_dump(job))
    match([str(place / "here.yaml")], str(place / "here"), segment_s=SEGMENT_S, quiet=True)
    (there / "cams").mkdir(parents=True)
    (place / "one.avi").rename(there / "cams" / "day-1.avi")
    job["cameras"][0]["source"] = f"{server.address(there)}/cams/*.avi"
    (place / "there.yaml").write_text(yaml.safe_dump(job))
    out = server.address(there / "results" / "found")
    match([str(place / "there.yaml")], out, segment_s=SEGMENT_S, quiet=True)
    same_rows(place / "here", there / "results" / "found")
    assert [path.name for path in (there / "results").iterdir()] == [
        "found"
    ]  # no segments, no folder of them
    assert (there / "results" / "found").stat().st_mode & 0o777 == 0o700
    assert server.connections == 1  # for all threads
    capsys.readouterr()
    match([str(place / "there.yaml")], out, segment_s=SEGMENT_S, quiet=True)
    assert "already done" in capsys.readouterr().out


def test_a_glob_follows_links_and_knows_the_version_of_what_they_lead_to(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "cam"
    folder.mkdir()
    for number in (10, 2):
        (folder / f"part-{number}.mp4").write_bytes(bytes(number))
    (folder / "part-1.mp4").symlink_to(folder / "part-10.mp4")
    (folder / "folder.mp4").mkdir()
    found = listed(f"{server.address(folder)}/*.mp4")
    assert [name.rpartition("/")[2] for name in found] == [f"part-{number}.mp4" for number in (1, 2, 10)]
    for name, version in found.items():
        assert listed(name) == {name: version}
        StoredFile(name, version).check_unchanged()
    assert list(listed(f"{server.address(folder)}/part-?.mp4")) == list(found)[:2]


def test_threads_read_side_by_side(server: Server, noise: Path) -> None:
    content, wrong = noise.read_bytes(), []
    file = StoredFile(server.address(noise))

    def work(seed: int) -> None:
        mine = StoredFile(file.source, file.version, Blocks(0))
        for place in np.random.default_rng(seed).integers(0, len(content), 12).tolist():
            mine.seek(place)
            if mine.read(70_000) != content[place : place + 70_000]:
                wrong.append(place)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))  # an error in one of them is one here
    assert not wrong
    assert server.connections == 1


def test_cut_connections_are_made_anew(
    server: Server, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("stored_file", "folder"):
        monkeypatch.setattr(f"serving.stores.{module}._WAITS_S", (0.01, 0.01))
    proxy = CuttingProxy(server.url, cuts=2, after=BLOCK // 2)
    port = int(proxy.url.rpartition(":")[2])
    file = StoredFile(server.address(noise, port), blocks=Blocks(0))
    assert file.read() == noise.read_bytes()
    assert proxy.cut == 2
    proxy.left = 10**9
    file.seek(0)
    file.read()
    with pytest.raises(ReidError, match=r"noise\.bin cannot be read \(\w+\): check the address, the network"):
        file.check()
    proxy.close()
    proxy = CuttingProxy(server.url, cuts=1, after=BLOCK, sent=True)
    there = StoredFolder(server.address(tmp_path / "there", int(proxy.url.rpartition(":")[2])))
    there.put(noise, "noise.bin")
    assert proxy.cut == 1
    assert there.names() == ["noise.bin"]
    assert there.bytes_of("noise.bin") == noise.read_bytes()
    proxy.close()


def test_a_listing_that_breaks_off_is_not_an_empty_folder(server: Server, noise: Path) -> None:
    address = server.address(noise.parent)
    assert list(listed(f"{address}/noise.*"))
    from serving.stores.sftp import sftp_files

    store, _ = sftp_files(address)
    store.ftp.get_channel().close()
    with pytest.raises(ReidError, match=r"cannot be read \(SSHException\)"):
        listed(f"{address}/*.bin")


@pytest.mark.parametrize("renames", [True, False])
def test_a_file_takes_the_place_of_another(
    server: Server, tmp_path: Path, noise: Path, renames: bool
) -> None:
    server.renames = renames
    (tmp_path / "there" / "a").mkdir(parents=True)
    (tmp_path / "there" / "a" / "b").write_text("before")
    there = StoredFolder(server.address(tmp_path / "there"))
    there.put(noise, "a/b")
    assert there.names() == ["a/b"]
    there.fetch("a/b", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == noise.read_bytes()
    there.remove("a/b")
    there.remove("a/b")
    assert there.names() == []
    assert not (tmp_path / "there").exists()


def test_what_a_server_refuses_is_one_line(
    server: Server, noise: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = server.address(noise)
    for missing in (f"{address}.none", f"{server.address(tmp_path)}/none/*.bin"):
        with pytest.raises(ReidError, match=r"does not exist, or its folder does not: check the address"):
            listed(missing)
    keys = [asyncssh.generate_private_key("ssh-ed25519"), None]
    for key in keys:
        server.give(key)
        with pytest.raises(ReidError, match=r"no credentials that the store takes: want a key in"):
            listed(address)
    server.give(keys[0], PASSPHRASE)
    (tmp_path / "home" / ".ssh" / "id_rsa").write_text("no key")
    with pytest.raises(ReidError, match="no credentials that the store takes"):
        StoredFolder(server.address(tmp_path / "found"))
    with pytest.raises(ReidError, match=r"^output sftp://127\S+ cannot be written \(NoValid\w+\)"):
        StoredFolder(server.address(tmp_path / "found", 1))
    assert PASSPHRASE not in caplog.text


def test_a_host_must_have_the_key_that_is_known(server: Server, noise: Path) -> None:
    address = server.address(noise)
    server.known_as(server.host_key)
    assert listed(address)
    server.known_as(asyncssh.generate_private_key("ssh-ed25519"))
    with pytest.raises(ReidError, match=r"the host has another key than ~/\.ssh/known_hosts names"):
        listed(address)


def listed_elsewhere(address: str, **environment: str) -> tuple[str, str]:
    """What another process says, and its errors: drivers look at the environment as they begin."""
    code = """
import sys
from reid.errors import ReidError
from serving.stores import listed
try:
    print(len(listed(sys.argv[1])))
except ReidError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, timeout=60,
        env=os.environ | environment,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


def test_a_password_comes_from_the_environment(server: Server, noise: Path) -> None:
    server.give(None)
    address = server.address(noise)
    assert listed_elsewhere(address, FSSPEC_SFTP_PASSWORD=PASSWORD) == ("1", "")
    said, errors = listed_elsewhere(address, FSSPEC_SFTP_PASSWORD=f"{PASSWORD}-of-another")
    assert said.endswith("want a key in ssh-agent or ~/.ssh, or FSSPEC_SFTP_PASSWORD")
    assert PASSWORD not in said + errors


def test_nothing_that_the_driver_logs_comes_onto_the_screen(server: Server) -> None:
    proxy = CuttingProxy(server.url, cuts=10**9, after=0)
    said, errors = listed_elsewhere(server.address(Path("/a.mp4"), int(proxy.url.rpartition(":")[2])))
    assert "cannot be read (SSHException)" in said
    assert errors == ""  # paramiko's own logger has a traceback for it
    proxy.close()


def test_a_missing_driver_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(UsageError, match=r'needs the package paramiko.*pip install "reid-pipeline\[sftp\]"'):
        listed("sftp://host/a.mp4")
