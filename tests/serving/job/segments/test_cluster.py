"""Ray clusters of nodes that are each started as an operator would: nodes that are killed while they work on
a segment, and nodes that have folders of their own.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.job.run import Execution, run_job
from serving.spec import load_job
from tests.serving.bucket import Bucket, bucket
from tests.serving.execution_job import SEGMENT_S, in_store, make_place, match_command, same_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def descendants(pid: int) -> list[int]:
    parent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it has just ended
    found = [pid]
    for one in found:
        found += [child for child, its in parent.items() if its == one]
    return found[1:]


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def end(node: subprocess.Popen[bytes]) -> None:
    for pid in [*descendants(node.pid), node.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    node.wait()


@dataclass(frozen=True)
class Node:
    """A node's processors, the command that starts it in a place of its own, and its folder for parcels."""

    processors: int
    cache: Path
    behind: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def footage() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, bucket(patch) as one:
        yield one


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, footage: Bucket) -> dict[str, str]:
    """Of the nodes and of the job: the secret by which they know each other, and the way to the store."""
    secret = tmp_path_factory.mktemp("secret") / "token"
    secret.write_text(secrets.token_hex(32))
    more = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(secret),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | more


@pytest.fixture(scope="module")
def hidden_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is empty for the nodes of ``cluster``, where mounts are allowed."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def cluster(
    environment: dict[str, str], hidden_place: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]], list[Path]]]:
    """The address of a cluster, its three nodes of one processor each, of which each test may kill the last,
    and their folders for parcels. Starting it costs more than a job: the tests share it.
    """
    behind = hidden(hidden_place) if may_hide(hidden_place) else []
    caches = [tmp_path_factory.mktemp(f"cache-{number}") for number in range(3)]
    with nodes_of(environment, *(Node(1, cache, behind) for cache in caches)) as (address, nodes):
        yield address, nodes, caches


@contextmanager
def nodes_of(
    environment: dict[str, str], *wanted: Node
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A cluster of such nodes, the first at its head."""
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    command += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
    head = [
        "--head",
        f"--port={address.rpartition(':')[2]}",
        "--include-dashboard=false",
        f"--temp-dir={place}",
    ]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for one in wanted:
            role = [f"--address={address}"] if nodes else head
            line = [*one.behind, *command, f"--num-cpus={one.processors}", *role]
            its = environment | {"XDG_CACHE_HOME": str(one.cache)}
            nodes.append(
                subprocess.Popen(line, env=its, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            wait_for(lambda: any("raylet/raylet" in title(pid) for pid in descendants(nodes[-1].pid)))
        yield address, [*nodes]
    finally:
        for node in reversed(nodes):
            end(node)
        shutil.rmtree(place, ignore_errors=True)


def wait_for(condition, seconds: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def killed_while_it_works(
    command: list[str], environment: dict[str, str], node: subprocess.Popen[bytes], work: Path
) -> None:
    """Run a job to its end, and kill a node while it works on one of the job's segments and others are done:
    the job that goes on has ``work`` for its segments.
    """
    job = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        # A worker bears the name of what it works on.
        wait_for(
            lambda: (
                job.poll() is not None
                or (
                    list(work.glob("[!.]*/counts.json"))
                    and any(title(pid).startswith("ray::_remote") for pid in descendants(node.pid))
                )
            ),
            240,
        )
        assert job.poll() is None, job.stderr.read() if job.stderr else ""
        end(node)
        _, complaints = job.communicate(timeout=240)
    finally:
        job.kill()
    assert job.returncode == 0, complaints


def test_a_killed_nodes_segments_are_taken_over(
    tmp_path: Path,
    environment: dict[str, str],
    cluster: tuple[str, list[subprocess.Popen[bytes]], list[Path]],
) -> None:
    address, nodes, _ = cluster
    place = make_place(tmp_path, cameras=1)
    straight = run_job(load_job(place / "job.yaml"), place / "straight", execution=Execution(SEGMENT_S)).out
    command = match_command(place, place / "out", "--ray", address)
    killed_while_it_works(command, environment, nodes.pop(), place / ".out.work")
    same_rows(straight, place / "out")


def test_a_killed_nodes_segments_are_taken_over_by_one_that_has_none_of_the_jobs_folders(
    hidden_place: Path,
    footage: Bucket,
    environment: dict[str, str],
    cluster: tuple[str, list[subprocess.Popen[bytes]], list[Path]],
) -> None:
    """No node sees where model and job lie, nor what another was sent; the footage is in a store."""
    if not may_hide(hidden_place):
        pytest.skip("mount namespaces need root")
    address, nodes, caches = cluster
    place = make_place(hidden_place)
    straight = run_job(load_job(place / "job.yaml"), place / "straight", execution=Execution(SEGMENT_S)).out
    in_store(place, {name: footage.put(place / f"{name}.avi", f"{name}.avi") for name in ("one", "two")})
    for name in ("one", "two"):
        (place / f"{name}.avi").unlink()
    command = match_command(place, place / "out", "--ray", address, job="stored.yaml")
    killed_while_it_works(command, environment, nodes.pop(), place / ".out.work")
    same_rows(straight, place / "out")
    model = (place / "model" / "model.json").read_bytes()
    # The dead one had been sent the model, too, into its own folder.
    for cache in caches[: len(nodes) + 1]:
        (sent,) = cache.glob("reid-parcels-*/*/model.json")
        assert sent.read_bytes() == model


def hidden(folder: Path) -> list[str]:
    """A command that starts another where a folder is empty: in a mount namespace of its own."""
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(folder)]


def may_hide(folder: Path) -> bool:
    return subprocess.run([*hidden(folder), "true"], capture_output=True).returncode == 0


def test_a_node_without_the_jobs_folders_gives_the_same_rows(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """All segments are worked through by a node that sees neither model nor footage nor detections."""
    folder = tmp_path / "place"
    folder.mkdir()
    if not may_hide(folder):
        pytest.skip("mount namespaces need root")
    place = make_place(folder, cameras=2)
    straight = run_job(load_job(place / "job.yaml"), place / "straight", execution=Execution(SEGMENT_S)).out
    cache = tmp_path / "cache-of-second"
    command = [sys.executable, "-m", "pipelines.cli", "match", str(place / "job.yaml"), "--quiet"]
    command += ["--segment-s", str(SEGMENT_S)]
    nodes = Node(0, tmp_path / "cache-of-first"), Node(1, cache, hidden(folder))
    with nodes_of(environment, *nodes) as (address, _):
        jobs = [
            subprocess.Popen(
                [*command, "--out", str(place / name), "--ray", address],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in ("first", "second")
        ]
        for job in jobs:
            _, complaints = job.communicate(timeout=500)
            assert job.returncode == 0, complaints
    moments = {}
    for name in ("first", "second"):
        same_rows(straight, place / name)
        stored = (place / name / "kept-segments").glob("[!.]*/counts.json")
        moments[name] = sorted(path.stat().st_mtime for path in stored)
    # One processor, two jobs: neither waits until the other is done.
    assert moments["first"][0] < moments["second"][-1]
    assert moments["second"][0] < moments["first"][-1]
    # Both sent the same model; it lies there once, for its user alone.
    (parcels,) = cache.glob("reid-parcels-*")
    (parcel,) = (path for path in parcels.iterdir() if path.is_dir())
    assert (parcel / "model.json").read_bytes() == (place / "model" / "model.json").read_bytes()
    assert parcels.stat().st_mode & 0o077 == parcel.stat().st_mode & 0o077 == 0
