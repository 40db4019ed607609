"""Outputs of jobs in a store (moto's S3 server on loopback): all or nothing, whatever is cut or killed."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid.errors import ReidError, UsageError
from serving.cli.job import match
from serving.job.publication import PublishedOutput, published_output
from serving.job.run import Execution, run_job
from serving.spec import load_job
from tests.serving.bucket import SECRET, Bucket, CuttingProxy, bucket, no_secret_in, reach
from tests.serving.execution_job import SEGMENT_S, make_place, same_rows

OUT = "s3://footage/results/found"
KILLS = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, bucket(patch) as one:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield one


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job, and its output in a folder of this machine."""
    place = make_place(tmp_path_factory.mktemp("published"), cameras=1)
    with (place / "job.yaml").open("a") as job:
        job.write("backend: onnxruntime\n")  # each folder of caches would choose anew
    run_job(load_job(place / "job.yaml"), place / "straight", execution=Execution(SEGMENT_S))
    return place


def run(place: Path, out: str = OUT) -> None:
    match([str(place / "job.yaml")], out, segment_s=SEGMENT_S, quiet=True)


def fetched(store: Bucket, folder: Path) -> Path:
    for name in store.names():
        path = folder / name.removeprefix("results/found/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.content(name))
    return folder


def test_the_output_is_that_of_a_folder_here(
    store: Bucket, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(here / "job.yaml", "results/found/left-over.txt")
    run(here)
    assert f"results: {OUT}" in capsys.readouterr().out
    found = fetched(store, tmp_path / "found")
    same_rows(here / "straight", found)
    names = [sorted(path.relative_to(one).as_posix() for path in one.rglob("*") if path.is_file())
             for one in (here / "straight", found)]  # fmt: skip
    assert names[1] == names[0]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]  # no faces stay here
    no_secret_in(found)
    run(here)
    assert "already done" in capsys.readouterr().out
    job = here / "other.yaml"
    job.write_text((here / "job.yaml").read_text().replace("one.avi", "other.avi"))
    shutil.copy(here / "one.avi", here / "other.avi")
    with pytest.raises(UsageError, match="is that of another job"):
        match([str(job)], OUT, segment_s=SEGMENT_S, quiet=True)
    assert fetched(store, tmp_path / "again").is_dir()
    same_rows(here / "straight", tmp_path / "again")


def test_cut_uploads_are_tried_again_and_in_the_end_said(
    store: Bucket, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy = CuttingProxy(store.url, cuts=8, after=3000, sent=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.stores.folder._WAITS_S", (0.01, 0.01))
        reach(proxy.url, patch)
        run(here)
        assert proxy.cut == 8
        same_rows(here / "straight", fetched(store, tmp_path / "found"))
        done = PublishedOutput("s3://footage/again")
        done.begin()
        shutil.copytree(here / "straight", done.local)
        patch.setattr("s3fs.core.S3FileSystem.retries", 1)
        proxy.left = 10**9
        with pytest.raises(ReidError, match=r"output s3://footage/again cannot be written \(\w+\)") as raised:
            done.publish()
        assert SECRET not in str(raised.value)
    assert "again/job.json" not in store.names()
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        reach(store.url, patch)
        run(here, done.address)  # the output is here: it is only published
    assert "already done" in capsys.readouterr().out
    assert "again/job.json" in store.names()
    proxy.close()


def test_what_a_store_refuses_is_said_before_the_work(store: Bucket, here: Path) -> None:
    with pytest.raises(ReidError, match="output s3://nowhere/found does not exist, or its bucket does not"):
        run(here, "s3://nowhere/found")
    for address in ("range+http://host/found", "http://host/found", "s3://key:hidden@bucket/found"):
        with pytest.raises(ReidError) as raised:
            published_output(address)
        assert "hidden" not in str(raised.value)
    with pytest.raises(ReidError, match=r"output s3://footage is all of a store: name a folder in it"):
        published_output("s3://footage")
    store.close_to_all()
    with pytest.raises(ReidError, match="may not be written with these credentials") as raised:
        run(here)
    assert SECRET not in str(raised.value)


def test_another_machine_goes_on_with_the_segments(store: Bucket, here: Path, tmp_path: Path) -> None:
    """The first machine stores three segments and is lost; of an unfinished one nothing is taken."""
    work = here / "straight" / "kept-segments"
    folders = sorted(path for path in work.iterdir() if path.is_dir())
    lost = PublishedOutput(OUT)
    lost.begin()
    shutil.copytree(work, lost.local.parent / ".found.work")
    for folder in folders[:3]:
        lost.keep(lost.local.parent / ".found.work" / folder.name)
    store.put(folders[3] / "detections.parquet", f"results/.found.work/{folders[3].name}/detections.parquet")
    stamps = {folder.name: (folder / "counts.json").read_bytes() for folder in folders}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
        run(here)
    found = fetched(store, tmp_path / "found")
    same_rows(here / "straight", found)
    same = [
        (found / "kept-segments" / name / "counts.json").read_bytes() == one for name, one in stamps.items()
    ]
    assert same == [True] * 3 + [False] * (len(folders) - 3)


_HELPER = """
import json, os, random, signal, sys, time
from pathlib import Path
import av, cv2, boto3, onnxruntime, trackers, s3fs, serving.job.outputs
from serving.cli.job import match

job, out, caches, longest, segment_s, kills = *sys.argv[1:4], *map(float, sys.argv[4:])
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
chance, killed, status, whole, seen, again, number = random.Random(5), 0, None, 0, {}, 0, 0
while killed < kills or status:
    number += 1
    if not (child := os.fork()):
        os.environ["XDG_CACHE_HOME"] = f"{caches}/{number}"  # each time another machine
        match([job], f"{out}-{whole}", segment_s=segment_s, quiet=True)
        os._exit(0)
    if killed < kills:
        time.sleep(chance.uniform(0.2, 1) * longest)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed += status == signal.SIGKILL
    assert status in (0, signal.SIGKILL), status
    stored = {one["Key"]: one["ETag"] for one in client.list_objects_v2(Bucket="footage").get("Contents", [])}
    record = f"found-{whole}/job.json"
    if record in stored:  # then all of it is there
        value = json.loads(client.get_object(Bucket="footage", Key=record)["Body"].read())
        for name in value["written"]:
            path = f"found-{whole}/{name}"
            assert any(key == path or key.startswith(f"{path}/") for key in stored), name
    else:
        counts = {key: tag for key, tag in stored.items() if key.endswith("/counts.json") and ".work/" in key}
        again += sum(counts.get(key, tag) != tag for key, tag in seen.items())
        seen |= counts
    if status == 0:
        assert record in stored and not any(".work/" in key for key in stored), stored
        whole, seen = whole + 1, {}
print(json.dumps({"killed": killed, "whole": whole, "segments done again": again, "attempts": number}))
"""


@pytest.mark.slow
def test_killed_at_random_moments_a_reader_sees_all_or_nothing(
    store: Bucket, here: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    run(here, "s3://footage/measured")
    longest = (time.monotonic() - began) / 2
    arguments = [str(here / "job.yaml"), "s3://footage/found", str(tmp_path), str(longest)]
    helper = subprocess.run(
        [sys.executable, "-c", _HELPER, *arguments, str(SEGMENT_S), str(KILLS)],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert helper.returncode == 0, helper.stderr
    counts = json.loads(helper.stdout.splitlines()[-1])
    assert counts["killed"] == KILLS
    assert counts["segments done again"] == 0
    assert SECRET not in helper.stdout + helper.stderr
    for number in range(counts["whole"]):
        folder = tmp_path / f"whole-{number}"
        for name in (name for name in store.names() if name.startswith(f"found-{number}/")):
            path = folder / name.partition("/")[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.content(name))
        same_rows(here / "straight", folder)
