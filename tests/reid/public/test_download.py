"""Files from a server that cuts, redirects, lies and changes its mind."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid.errors import ReidError, UsageError
from reid.public.download import download
from tests.reid.public.model_server import ModelServer, serving

BYTES = bytes(range(256)) * 4000  # a megabyte
SHA256 = hashlib.sha256(BYTES).hexdigest()
SHA384 = hashlib.sha384(BYTES).hexdigest()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving() as running:
        running.files["/model.bin"] = BYTES
        yield running


def fetch(server: ModelServer, path: Path, digest: tuple[str, str] | None = ("sha384", SHA384)) -> str:
    return download(f"{server.url}/model.bin", path, digest=digest, pause_s=0.001)


def test_a_cut_connection_goes_on_where_it_was(server: ModelServer, tmp_path: Path) -> None:
    server.cuts = [300_000, 200_000]
    seen: list[tuple[int, int]] = []
    path = tmp_path / "weights" / "model.bin"
    found = download(
        f"{server.url}/model.bin", path, update=lambda done, total: seen.append((done, total)), pause_s=0.001
    )
    assert found == SHA256
    assert path.read_bytes() == BYTES
    assert [span for _, span in server.asked] == [None, "bytes=300000-", "bytes=500000-"]
    assert [one.name for one in path.parent.iterdir()] == ["model.bin"]
    assert seen[-1] == (len(BYTES), len(BYTES))
    assert seen == sorted(seen)


def test_what_came_is_kept_when_the_server_goes_away(server: ModelServer, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    server.cuts = [400_000, 0, 0, 0, 0, 0]
    with pytest.raises(
        ReidError, match=r"400000 of 1024000 bytes came\); what came is kept in .*model\.bin\.part"
    ) as caught:
        fetch(server, path)
    assert "\n" not in str(caught.value)
    assert not path.exists()
    assert (tmp_path / "model.bin.part").read_bytes() == BYTES[:400_000]
    server.asked.clear()
    assert fetch(server, path) == SHA256
    assert server.asked == [("/model.bin", "bytes=400000-")]


def test_another_version_is_not_put_behind_the_first_one_s_beginning(
    server: ModelServer, tmp_path: Path
) -> None:
    server.cuts = [400_000, 0, 0, 0, 0, 0]
    with pytest.raises(ReidError):
        fetch(server, tmp_path / "model.bin")
    server.files["/model.bin"], server.etag = BYTES[::-1], '"2"'
    fetch(server, tmp_path / "model.bin", None)
    assert (tmp_path / "model.bin").read_bytes() == BYTES[::-1]


def test_a_server_that_cannot_tell_versions_apart_begins_anew(server: ModelServer, tmp_path: Path) -> None:
    server.etag, server.cuts = None, [300_000]
    assert fetch(server, tmp_path / "model.bin") == SHA256
    assert [span for _, span in server.asked] == [None, None]


def test_a_wrong_hash_leaves_nothing(server: ModelServer, tmp_path: Path) -> None:
    for digest in (("sha256", "0" * 64), ("sha384", "0" * 96)):
        with pytest.raises(
            ReidError, match=rf"model\.bin has the {digest[0].upper()} \w+, published is 000"
        ) as caught:
            fetch(server, tmp_path / "model.bin", digest)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed_but_not_in_a_circle(server: ModelServer, tmp_path: Path) -> None:
    server.redirects = {"/old": "/older", "/older": "/model.bin", "/round": "/round"}
    assert download(f"{server.url}/old", tmp_path / "model.bin") == SHA256
    with pytest.raises(ReidError, match="/round answers 302 "):
        download(f"{server.url}/round", tmp_path / "round.bin")
    server.redirects["/file"] = "file:///etc/hostname"
    with pytest.raises(ReidError, match="/file answers 302 "):
        download(f"{server.url}/file", tmp_path / "file.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


def test_a_page_instead_of_the_file(server: ModelServer, tmp_path: Path) -> None:
    server.files["/model.bin"] = b"\n<!DOCTYPE html><title>Sign in</title>"
    with pytest.raises(ReidError, match="gives a web page and not the file: open the address in a browser"):
        fetch(server, tmp_path / "model.bin", None)
    assert list(tmp_path.iterdir()) == []


def test_answers_that_pass_and_answers_that_do_not(server: ModelServer, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert fetch(server, tmp_path / "model.bin") == SHA256
    for status in (404, 401):
        server.statuses = [status]
        with pytest.raises(ReidError, match=rf"answers {status} .*name it with --from"):
            fetch(server, tmp_path / "other.bin")
    (tmp_path / "long.bin.part").write_bytes(BYTES * 2)
    (tmp_path / "long.bin.part.tag").write_text('"1"')
    server.statuses = [416]  # a part that is longer than the file
    assert download(f"{server.url}/model.bin", tmp_path / "long.bin", pause_s=0.001) == SHA256


def test_through_the_proxy_of_the_environment(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.files["http://models.invalid/model.bin"] = BYTES
    assert download("http://models.invalid/model.bin", tmp_path / "model.bin") == SHA256
    assert server.asked == [("http://models.invalid/model.bin", None)]


def test_user_and_password_of_an_address_are_told_to_its_server_alone(
    server: ModelServer, tmp_path: Path
) -> None:
    server.redirects = {"/private": "/model.bin"}
    address = server.url.replace("//", "//me:se%20cret@")
    assert download(f"{address}/private", tmp_path / "model.bin") == SHA256
    assert server.users == [f"Basic {base64.b64encode(b'me:se cret').decode()}", None]


def test_nobody_listens_and_secrets_are_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ReidError, match=r"127\.0\.0\.1:9/x could not be fetched \(.*refused") as caught:
        download("http://me:secret@127.0.0.1:9/x?key=secret", tmp_path / "x", pause_s=0.001)
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="neither an http nor an https address"):
        download("file:///etc/hostname", tmp_path / "x")
