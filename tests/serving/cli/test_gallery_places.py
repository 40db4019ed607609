"""Galleries where they lie: in folders that cannot be written, under users without a name, behind commands
that fail.
"""

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reid.errors import ReidError
from serving.gallery import Gallery, user_name
from tests.serving.cli.commands import answer, fails, reid
from tests.serving.images import named_images
from tests.serving.rows import unit_rows

UID = 4242


def as_nobody(work: Callable[[], object]) -> object:
    """What ``work`` gives in a forked process whose user has a number and no name, as ``docker run --user
    4242`` starts them.
    """
    ours, theirs = multiprocessing.Pipe()

    def run() -> None:
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
            os.environ.pop(name, None)
        try:
            theirs.send(work())
        except BaseException as error:  # noqa: BLE001 - told to the test
            theirs.send(error)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return ours.recv()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become another user")
def test_a_user_without_a_name(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, UID, UID)

    def work() -> list[tuple[str, str]]:
        with Gallery.open(place / "g.db", "m", 4, create=True) as opened:
            opened.enroll("Anna", unit_rows(1, 4))
            return [(entry.who, entry.action) for entry in opened.audit()]

    assert as_nobody(work) == [(f"uid {UID}", "enroll")]


def test_the_name_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "anna")
    assert user_name() == "anna"


@pytest.fixture
def read_only_disk(gallery: Path, tmp_path: Path) -> Iterator[Path]:
    """The gallery on a file system that is mounted read-only, as with ``docker run -v
    galleries:/galleries:ro``.
    """
    place = tmp_path / "galleries"
    place.mkdir()
    shutil.copy2(gallery, place / "g.db")
    if os.geteuid() or subprocess.run(["mount", "--bind", place, place], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here: that takes root")
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    yield place / "g.db"
    subprocess.run(["umount", place], check=True)


def test_a_gallery_on_a_read_only_disk_is_searched_and_looked_at(
    read_only_disk: Path, model: Path, tmp_path: Path
) -> None:
    found = answer("identify", read_only_disk, tmp_path / "images" / "anna_1.png", "--model", model)
    assert found["matches"][0]["identity"] == "anna"
    assert [person["identity"] for person in answer("list", read_only_disk)["people"]] == ["anna", "bert"]
    assert "cannot be written" in str(fails("gallery", "remove", read_only_disk, "anna"))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become another user")
def test_a_gallery_in_a_folder_that_its_user_may_not_write(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    place = tmp_path / "place"
    with Gallery.open(place / "g.db", "m", 4, create=True) as opened:
        opened.enroll("Anna", unit_rows(1, 4))
    os.chown(place / "g.db", UID, UID)

    def work() -> str:
        with Gallery.open(place / "g.db", "m", create=False) as opened:
            return opened.search(unit_rows(1, 4), 1)[0][0][0]

    assert as_nobody(work) == "Anna"


def test_looking_changes_nothing_in_the_file(gallery: Path, model: Path, tmp_path: Path) -> None:
    with Gallery.open(gallery, None, create=False) as opened, opened.store.writing() as change:
        change.db.execute("UPDATE meta SET value = 1 WHERE key = 'purge_pending'")
        change.log("test", "", "")
    before, facts = gallery.read_bytes(), gallery.stat()
    answer("identify", gallery, tmp_path / "images" / "anna_1.png", "--model", model)
    for command in ("list", "audit", "verify", "models"):
        assert reid("gallery", command, gallery).exit_code == 0
    assert gallery.read_bytes() == before
    assert gallery.stat().st_mtime_ns == facts.st_mtime_ns
    assert not list(gallery.parent.glob("g.db-*"))
    with (
        Gallery.open(gallery, None, create=False) as opened,
        pytest.raises(ReidError, match="has nobody named"),
    ):
        opened.remove("nobody")
    assert gallery.read_bytes() != before, (
        "what was to be erased is erased when the gallery is opened to be changed"
    )


def test_a_command_that_fails_leaves_no_new_gallery(tmp_path: Path, model: Path) -> None:
    folder = named_images(tmp_path / "images", ["anna_1.png"])
    (folder / "anna_1.png").write_bytes(b"no image")
    fails("gallery", "enroll", tmp_path / "new.db", folder, "--model", model)
    (tmp_path / "e.parquet").write_bytes(b"no export")
    fails("gallery", "import", tmp_path / "new.db", tmp_path / "e.parquet")
    assert not list(tmp_path.glob("*new.db*"))


@pytest.mark.parametrize("name", ["", ".", "n" * 10_000])
def test_names_that_no_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReidError):
        Gallery.open(name, "m", 4, create=True)
    with pytest.raises(ReidError):
        Gallery.open(name, None, create=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReidError, match=r"file/g\.db cannot be used .*a part of the path is a file"):
        Gallery.open(tmp_path / "file" / "g.db", "m", 4, create=True)
