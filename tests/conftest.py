"""What tests share: their order, where the real data lies, a browser, and a Ray cluster of two nodes."""

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser, chromium

# Ray's clusters of this test session are for this session alone. Set before anything imports Ray, which reads
# it once.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

# The processes of a run share the processors: more threads than that stand in each other's way and spin while
# they wait. The libraries read this when they are loaded.
_THREADS = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, str(_THREADS))

_ROOT = Path(__file__).parents[1]
_SHARED = Path(os.environ.get("REID_SHARED", Path(__file__).parents[2] / "shared")).resolve()

# With the shortest last two processes end together.
LONGEST_FIRST = (
    "pipelines/test_chain.py",
    "reid/export/test_backbone_engines.py",
    "reid/training/test_sweep.py",
    "serving/job/segments/test_hang.py",
    "fuzz/test_fuzz.py",
    "reid/export/test_export.py",
    "serving/job/segments/test_execution.py",
    "test_package.py",
    "reid/training/test_kill.py",
    "serving/job/segments/test_live.py",
    "serving/job/test_footage.py",
    "serving/video/test_containers.py",
    "serving/video/test_opening.py",
    "pipelines/commands/test_evaluate.py",
    "pipelines/commands/test_import_checkpoint.py",
    "reid/models/test_published.py",
    "reid/export/int8/test_int8.py",
    "reid/training/test_resources.py",
    "serving/job/test_kill.py",
    "test_tutorials.py",
    "test_docs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first; `make test` hands files out in this order."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FIRST)}
    assert all(path.exists() for path in places), "LONGEST_FIRST names a file that is not there"
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real people, footage and models; a test that needs it is skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(f"no real data at {_SHARED}: set REID_SHARED")
    return _SHARED


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where runtimes are remembered, for these tests alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser, started by the first test that opens a page; skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium to open pages with")
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


# Of a module: a process holds one connection to Ray, and other tests start a Ray of their own.
@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Ray cluster of two nodes with one processor each: two ``ray start`` processes on this
    machine.
    """
    import ray

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    own = (
        "--node-ip-address=127.0.0.1",
        "--num-cpus=1",
        "--object-store-memory=100000000",
        "--disable-usage-stats",
        "--block",
    )
    nodes: list[subprocess.Popen[bytes]] = []
    log = (tmp_path_factory.mktemp("ray") / "log").open("w+b")

    def start(*options: str) -> None:
        command = (str(Path(sys.executable).with_name("ray")), "start", *options, *own)
        path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {
            "PYTHONPATH": path,
            "RAY_worker_niceness": "0",
            "RAY_worker_register_timeout_seconds": "120",
        }
        nodes.append(
            subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        )

    try:
        start("--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false")
        deadline = time.monotonic() + 60
        while True:  # the second node finds nobody before the first listens
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                    break
            assert time.monotonic() < deadline, "the head node does not listen"
            time.sleep(0.1)
        start(f"--address={address}")
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
        while sum(node["Alive"] for node in ray.nodes()) < 2:
            assert time.monotonic() < deadline, "the second node does not join"
            time.sleep(0.1)
        yield address
    finally:
        ray.shutdown()
        for process in nodes[::-1]:
            process.terminate()  # with --block, `ray start` ends what it started
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.close()


@pytest.fixture(scope="session")
def mlflow_schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, to be copied: making one takes five seconds. Processes of a run share it."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path = folder / "mlflow_schema.db"
    with (folder / "mlflow_schema.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            from mlflow.tracking import MlflowClient

            made = folder / "made.db"
            MlflowClient(f"sqlite:///{made}").search_experiments()
            made.rename(path)
    return path
