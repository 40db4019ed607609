"""A Ray cluster of two nodes, each started as an operator would, of which one is killed while it works on a
segment.
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
from pathlib import Path

import pytest

from serving.job.run import Execution, run_job
from serving.spec import load_job
from tests.serving.execution_job import SEGMENT_S, make_place, same_rows

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


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of the nodes and of the job: the secret by which they know each other."""
    secret = tmp_path / "token"
    secret.write_text(secrets.token_hex(32))
    more = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(secret),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | more


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a cluster and its two nodes, of one processor each."""
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    command += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
    head = [
        "--head",
        f"--port={address.rpartition(':')[2]}",
        "--include-dashboard=false",
        f"--temp-dir={place}",
    ]
    nodes = []
    try:
        for more in (head, [f"--address={address}"]):
            nodes.append(
                subprocess.Popen(
                    [*command, *more], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
            wait_for(lambda: any("raylet/raylet" in title(pid) for pid in descendants(nodes[-1].pid)))
        yield address, nodes
    finally:
        for node in reversed(nodes):
            end(node)
        shutil.rmtree(place, ignore_errors=True)


def wait_for(condition, seconds: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_killed_nodes_segments_are_taken_over(
    tmp_path: Path, environment: dict[str, str], cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, (_, second) = cluster
    place = make_place(tmp_path, cameras=1)
    straight = run_job(load_job(place / "job.yaml"), place / "straight", execution=Execution(SEGMENT_S)).out
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "match",
        str(place / "job.yaml"),
        "--out",
        str(place / "out"),
        "--quiet",
    ]
    command += ["--segment-s", str(SEGMENT_S), "--ray", address]
    job = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # A worker bears the name of what it works on.
    wait_for(
        lambda: (
            job.poll() is not None
            or any(title(pid).startswith("ray::_remote") for pid in descendants(second.pid))
        )
    )
    assert job.poll() is None, job.stderr.read() if job.stderr else ""
    end(second)
    _, complaints = job.communicate(timeout=120)
    assert job.returncode == 0, complaints
    same_rows(straight, place / "out")
