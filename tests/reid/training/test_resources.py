"""More processors or GPUs than Ray has: one line within seconds, or fewer threads; on a real Ray of one
processor.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid.config import Params, with_values
from reid.errors import UsageError
from reid.training.resources import check_resources, threads_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def one_processor() -> Iterator[None]:
    import ray

    ray.init(
        address="local",
        num_cpus=1,
        num_gpus=0,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    yield
    ray.shutdown()


def test_what_ray_has_is_enough(one_processor: None, tiny_params: Params) -> None:
    check_resources(tiny_params)
    assert threads_of(tiny_params) == 1


@pytest.mark.parametrize("threads", [2, 64])
def test_more_threads_than_processors_ask_for_what_is_there(
    one_processor: None, tiny_params: Params, threads: int
) -> None:
    """The default of two threads on a machine of one processor."""
    params = with_values(tiny_params, {"train.threads": threads})
    check_resources(params)
    assert threads_of(params) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"train.workers": 2},
            r"train\.workers is 2 of 1 processors each: Ray has room for 1; lower it or train\.threads",
        ),
        ({"train.workers": 2, "train.threads": 4}, r"train\.workers is 2 .* Ray has room for 1"),
        (
            {"tune.gpus": 1},
            r"tune\.gpus is 1 for each of 1 workers: Ray has 0; lower it, or set 0 to train without",
        ),
        ({"tune.gpus": 0.5}, r"tune\.gpus is 0\.5 .* Ray has 0"),
        ({"tune.gpus": 0.5, "train.workers": 2, "train.threads": 1}, r"cannot share a GPU; set 1"),
        ({"tune.gpus": 4096}, r"tune\.gpus is 4096 .* Ray has 0"),
    ],
)
def test_what_ray_has_not_is_one_line(
    one_processor: None, tiny_params: Params, values: dict[str, float], message: str
) -> None:
    began = time.monotonic()
    with pytest.raises(UsageError, match=message):
        check_resources(with_values(tiny_params, values))
    assert time.monotonic() - began < 10, "it is said at once and not waited for"


DRIVER = """
import json, sys
from pathlib import Path
from reid.config import parse_params
from reid.errors import UsageError
from reid.training.sweep import best_trial
params = parse_params(json.loads(Path(sys.argv[1]).read_text()))
try:
    best_trial(params, "batch_hard", Path(sys.argv[2]), start=None, parent="none")
except UsageError as error:
    print(error)
"""


def test_a_wanted_gpu_is_refused_within_seconds_in_a_long_folder(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    """The whole way, in a process of its own: Ray is started below a folder whose name leaves no room for its
    sockets.
    """
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    (tmp_path / "params.json").write_text(with_values(tiny_params, {"tune.gpus": 2}).model_dump_json())
    # Ray makes a token of its own in the home folder.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "HOME": str(tmp_path)}
    for name in ("RAY_TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        environment.pop(name, None)
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "params.json"), str(tiny_catalog)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    assert done.stdout.startswith("tune.gpus is 2 for each of 1 workers: Ray has"), done.stdout
