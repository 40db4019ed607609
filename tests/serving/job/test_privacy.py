"""What a job and its commands leave: nobody else can read it at any moment, no secret is in it, and a full
disk is one line.
"""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.cli import main
from reid.card import Threshold
from serving.gallery import Gallery
from serving.runtime import load
from tests.serving.tiny_footage import Walk, person, write_truth, write_walks
from tests.serving.tiny_models import tiny_model

FRAMES, WALKS = 60, [Walk("anna", (10, 120), (4, 0), 1, 60), Walk("bert", (300, 200), (-4, 0), 5, 60)]
LIMITS = [Threshold(policy="min", unit="image", false_accept_rate=0.1, distance=0.4)]
LIMITS += [Threshold(policy="min", unit="tracklet", false_accept_rate=0.1, distance=0.4)]
RUN = ("--backend", "onnxruntime")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("private")
    tiny_model(folder / "model", thresholds=tuple(LIMITS))
    embedder = load(folder / "model", "onnxruntime", 1)
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, create=True) as gallery:
        gallery.enroll("anna", embedder([np.ascontiguousarray(person("anna")[:, :, ::-1])]))
    write_walks(folder / "walk.avi", WALKS, FRAMES)
    write_truth(folder / "gt.txt", WALKS, FRAMES, {"anna": 1, "bert": 2})
    camera = {"id": "hall", "source": "walk.avi", "detections": "gt.txt"}
    job = {
        "cameras": [camera],
        "model": "model",
        "gallery": "gallery.db",
        "backend": "onnxruntime",
        "detector": {"name": "mot"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


@dataclass(frozen=True)
class Done:
    code: int
    output: str  # on both streams


def reid(*words: object, mask: int = 0o022, **environment: str) -> Done:
    """Run the console script in this process, which saves the seconds that a new one takes to start."""
    output = StringIO()
    before = os.umask(mask)
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(output):
            patch.setattr(sys, "argv", ["reid", *map(str, words)])
            patch.setattr("tempfile.tempdir", None)
            for name, value in environment.items():
                patch.setenv(name, value)
            handler = signal.getsignal(signal.SIGTERM)
            try:
                main()
            except SystemExit as ended:
                return Done(int(ended.code or 0), output.getvalue())
            finally:
                signal.signal(signal.SIGTERM, handler)
    finally:
        os.umask(before)
        tempfile.tempdir = None
    return Done(0, output.getvalue())


def evaluated(place: Path, images: Path, out: Path) -> tuple[object, ...]:
    """A command that evaluates crops of truth, as if their frames were cameras."""
    cameras = ("--query-cameras", "000021", "--gallery-cameras", "000041")
    names = r"^(?P<identity>\d+)_c1_f(?P<camera>\d+)"
    return (
        "evaluate",
        "--model",
        place / "model",
        "--root",
        images,
        "--pattern",
        names,
        *cameras,
        "--bootstrap",
        "5",
        "--out",
        out,
        *RUN,
    )


@contextmanager
def repeatedly(look: Callable[[], None]) -> Iterator[None]:
    """Call ``look`` again and again from a thread while the block runs."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            look()
            time.sleep(0.002)

    watcher = threading.Thread(target=work, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def mode_of(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:  # gone meanwhile
        return 0


def readable_by_others(folder: Path) -> Iterator[Path]:
    """Files that others may read: their own mode and that of all folders above allow it."""
    for place, folders, names in os.walk(folder):
        yield from (Path(place, name) for name in names if mode_of(Path(place, name)) & 0o077)
        # a private folder keeps everybody out
        folders[:] = [one for one in folders if mode_of(Path(place, one)) & 0o077]


def test_what_is_of_people_is_private_under_any_umask_and_at_any_moment(place: Path, tmp_path: Path) -> None:
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    out, cut = tmp_path / "out", tmp_path / "out" / "cut"
    commands: list[tuple[object, ...]] = [
        ("match", place / "job.yaml", "--out", out / "found", "--quiet"),
        ("report", out / "found"),
        ("crops", place / "walk.avi", "--truth", place / "gt.txt", "--out", cut, "--every", "20"),
        ("embed", cut, "-o", out / "rows.parquet", "--model", place / "model", *RUN),
        ("gallery", "enroll", out / "new.db", cut, "--model", place / "model", *RUN),
        ("gallery", "export", out / "new.db", out / "all.parquet"),
        ("gallery", "key", out / "g.key"),
        evaluated(place, cut, out / "judged"),
    ]
    seen: set[Path] = set()
    with repeatedly(lambda: seen.update(readable_by_others(tmp_path))):
        for command in commands:
            done = reid(*command, mask=0, TMPDIR=str(tmp_path / "tmp"))
            assert done.code == 0, (command, done.output)
    assert seen == set()
    modes = {str(path.relative_to(out)): mode_of(path) for path in out.rglob("*") if path.is_file()}
    found = {f"found/{name}" for name in ("sightings.parquet", "annotated-hall.webm", "report.html")}
    assert found | {"rows.parquet", "judged/evaluation.html"} <= set(modes)
    assert any(name.startswith("found/crops/") for name in modes)
    assert set(modes.values()) == {0o600}, modes


def test_the_watch_sees_what_is_open(tmp_path: Path) -> None:
    for folder, mode in (("open", 0o755), ("private", 0o700)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text("x")
        (tmp_path / folder / "a").chmod(0o644)
        (tmp_path / folder).chmod(mode)
    assert list(readable_by_others(tmp_path)) == [tmp_path / "open" / "a"]


def test_no_secret_of_an_address_or_key_is_anywhere(place: Path, tmp_path: Path) -> None:
    """Tables, pages, ledgers, the screen, and the list of processes of this machine while the job runs, with
    workers of its own.
    """
    work, key = tmp_path / "work", "ab" * 32
    work.mkdir()
    truth = str(place / "gt.txt")
    cameras = [
        {"id": "net", "source": "rtsp://anna:hunter2@127.0.0.1:9/live?token=s3cr3t#frag", "detections": truth}
    ]
    cameras.append({"id": "hall", "source": str(place / "walk.avi"), "detections": truth})
    encrypted = reid("gallery", "encrypt", place / "gallery.db", work / "g.db", REID_GALLERY_KEY=key)
    assert encrypted.code == 0 or "sqlcipher3" in encrypted.output
    gallery = work / "g.db" if encrypted.code == 0 else place / "gallery.db"
    job = {
        "cameras": cameras,
        "model": str(place / "model"),
        "gallery": str(gallery),
        "backend": "onnxruntime",
        "detector": {"name": "mot"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    secrets = (b"hunter2", b"s3cr3t", key.encode())
    listed: set[bytes] = set()

    def list_processes() -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = path.read_bytes()
            except OSError:
                continue
            listed.update(secret for secret in secrets if secret in text)

    command = (
        "match",
        tmp_path / "job.yaml",
        "--out",
        work / "o",
        "--workers",
        "2",
        "--metrics",
        work / "m.prom",
        "--json-lines",
    )
    with repeatedly(list_processes):
        result = reid(*command, **({"REID_GALLERY_KEY": key} if encrypted.code == 0 else {}))
    assert result.code == 3, result.output
    assert "rtsp://127.0.0.1:9/live" in result.output
    assert listed == set()
    texts = [result.output.encode(), *(path.read_bytes() for path in work.rglob("*") if path.is_file())]
    assert not [secret for secret in secrets for text in texts if secret in text]


@pytest.fixture(params=["full", "file above"])
def bad_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where nothing can be written, by root neither: a real file system that is nearly full, and a path below
    a file.
    """
    folder = tmp_path / "bad"
    if request.param == "file above":
        folder.write_text("x")
        yield folder
        return
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("no small disk can be mounted here: that takes root")
    (folder / "fill").write_bytes(bytes(60_000))
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_every_command_that_cannot_write_says_one_line_and_leaves_nothing(
    place: Path, tmp_path: Path, bad_place: Path
) -> None:
    cut = tmp_path / "cut"
    assert (
        reid("crops", place / "walk.avi", "--truth", place / "gt.txt", "--out", cut, "--every", "20").code
        == 0
    )
    commands: list[tuple[object, ...]] = [
        ("match", place / "job.yaml", "--out", bad_place / "found", "--quiet"),
        ("crops", place / "walk.avi", "--truth", place / "gt.txt", "--out", bad_place / "cut"),
        ("gallery", "enroll", bad_place / "new.db", cut, "--model", place / "model", *RUN),
        ("embed", cut, "-o", bad_place / "rows.parquet", "--model", place / "model", *RUN),
        evaluated(place, cut, bad_place / "judged"),
    ]
    before = sorted(path.name for path in bad_place.rglob("*"))
    for command in commands:
        done = reid(*command)
        lines = [line for line in done.output.splitlines() if line.startswith("reid: ")]
        assert (done.code, len(lines)) in ((1, 1), (2, 1)), (command, done.output[-1500:])
        assert str(bad_place) in lines[0]
        assert "Traceback" not in done.output
        assert sorted(path.name for path in bad_place.rglob("*")) == before, (command, lines)


@pytest.mark.parametrize("which", ["o", ".o.work"])
def test_a_link_in_the_place_of_the_output_is_left_alone(place: Path, tmp_path: Path, which: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (tmp_path / which).symlink_to("precious")
    done = reid("match", place / "job.yaml", "--out", tmp_path / "o", "--quiet")
    assert (done.code, done.output.count("\n")) == (2, 1), done.output
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == sorted(
        {which, "precious", "precious/file"}
    )


def test_a_folder_of_somebody_s_in_the_place_of_the_segments_stays(place: Path, tmp_path: Path) -> None:
    (tmp_path / ".o.work").mkdir()
    (tmp_path / ".o.work" / "thesis.txt").write_text("x")
    done = reid("match", place / "job.yaml", "--out", tmp_path / "o", "--quiet")
    assert done.code == 2
    assert "is in the way and not from an earlier run: move it" in done.output
    assert (tmp_path / ".o.work" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "{}", '{"backend": 3}', "[" * 2000, "x"])
def test_a_ledger_or_a_record_of_another_shape(place: Path, tmp_path: Path, text: str) -> None:
    """What is beside an output from some other time: begun anew where it is ours, refused in one line where
    it is not.
    """
    (tmp_path / ".o.work").mkdir()
    (tmp_path / ".o.work" / "ledger.json").write_text(text)
    done = reid("match", place / "job.yaml", "--out", tmp_path / "o", "--quiet")
    assert done.code == 0, done.output
    assert not (tmp_path / ".o.work").exists()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "job.json").write_text(text)
    for words in (
        ("match", place / "job.yaml", "--out", tmp_path / "p", "--quiet"),
        ("report", tmp_path / "p"),
    ):
        done = reid(*words)
        assert done.code in (1, 2), done.output
        assert done.output.count("\n") == 1, done.output
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["job.json"]
