"""Trainings in processes of their own that are killed, run out of disk and run out of memory."""

import random
import resource
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from reid.config import Params, parse_params, with_values
from reid.errors import ReidError
from reid.files import read_json, write_json
from reid.training.out_of_memory import smaller_batch
from reid.training.trial import run_training

KILLS = 20


def run_here(params: dict[str, Any], catalog: Path, folder: Path, limit: tuple[int, int] | None) -> None:
    """What a process does: train under a resource limit, and write an error down."""
    if limit is not None:
        kind, value = limit
        if kind == resource.RLIMIT_AS:  # the limit is what may come on top of what is in use
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(kind, (value, value))
    try:
        run_training(parse_params(params), "quadruplet", catalog, folder)
    except ReidError as error:
        write_json(folder / "error.json", str(error))


Start = Callable[..., ForkServerProcess]


@pytest.fixture
def start(forks: ForkServerContext) -> Start:
    def run(
        params: Params, catalog: Path, folder: Path, limit: tuple[int, int] | None = None
    ) -> ForkServerProcess:
        process = forks.Process(
            target=run_here, args=(params.model_dump(mode="json"), catalog, folder, limit), daemon=True
        )
        process.start()
        return process

    return run


@pytest.fixture
def long_params(tiny_params: Params) -> Params:
    """Five epochs of one step."""
    return with_values(tiny_params, {"train.steps": 5, "train.epoch_steps": 1})


def finish(process: ForkServerProcess, folder: Path, error: bool = False) -> str:
    """Wait for the end; returns the error, which must be there only where one is expected."""
    process.join(60)
    assert process.exitcode == 0
    message = read_json(folder / "error.json") if (folder / "error.json").exists() else ""
    (folder / "error.json").unlink(missing_ok=True)
    assert bool(message) == error, message
    return str(message)


def assert_same_files(folder: Path, reference: Path) -> None:
    for name in ("model.safetensors", "objective.safetensors"):
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), folder.name


def whole(checkpoint: Path) -> bool:
    """Whether there is a checkpoint; one that cannot be read is an error."""
    if not checkpoint.exists():
        return False
    with safe_open(checkpoint, framework="pt") as stream:
        for key in stream.keys():  # noqa: SIM118 - it is not a mapping
            stream.get_tensor(key)
    return True


def during_the_write(process: ForkServerProcess, folder: Path, delay: float) -> bool:
    """Wait until a checkpoint is being written, and ``delay`` more; False where the process ended before."""
    while process.is_alive():
        if any(folder.glob(".checkpoint-*")):
            time.sleep(delay)
            return process.is_alive()
        time.sleep(0.0005)
    return False


def wait_for_checkpoint(process: ForkServerProcess, folder: Path) -> None:
    while process.is_alive() and not (folder / "checkpoint.safetensors").exists():
        time.sleep(0.0005)


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_with_the_same_bits(
    start: Start, long_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    reference, chance = tmp_path / "reference", random.Random(3)
    reference.mkdir()
    began = time.monotonic()
    finish(start(long_params, tiny_catalog, reference), reference)
    seconds = time.monotonic() - began
    killed, in_write, found, series = 0, 0, 0, 0
    while killed < KILLS:
        series += 1
        folder = tmp_path / f"series{series}"
        folder.mkdir()
        done = False
        while not done:
            process = start(long_params, tiny_catalog, folder)
            if killed < KILLS and killed % 4 >= 2:  # half of the kills, however fast this machine is
                wait_for_checkpoint(process, folder)
            if killed < KILLS and killed % 2:
                alive = during_the_write(process, folder, chance.uniform(0, 0.03))
            else:
                process.join(chance.uniform(0, 0.7 * seconds))
                alive = process.is_alive()
            if killed < KILLS and alive:
                process.kill()
                process.join()
                killed += 1
                in_write += any(folder.glob(".checkpoint-*"))
                found += whole(folder / "checkpoint.safetensors")
            else:
                finish(process, folder)
                done = True
        assert_same_files(folder, reference)
        assert [row["epoch"] for row in read_json(folder / "history.json")] == list(range(1, 6))
        assert not list(folder.glob(".*"))
    assert in_write >= 3, "some kills must hit the write itself"
    assert found >= KILLS / 2, "most kills must come after a first checkpoint"


def test_what_a_killed_run_left_half_written_is_gone(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    names = ("model", "objective", "history", "summary", "checkpoint")
    left = [
        tmp_path / f".{name}-abcd1234{'.json' if name in names[2:4] else '.safetensors'}" for name in names
    ]
    for path in left:
        path.write_bytes(b"half")
    run_training(tiny_params, "quadruplet", tiny_catalog, tmp_path)
    assert not [path.name for path in left if path.exists()]


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    start: Start, long_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    reference, folder = tmp_path / "reference", tmp_path / "full"
    reference.mkdir()
    folder.mkdir()
    finish(start(long_params, tiny_catalog, reference), reference)
    checkpoint = folder / "checkpoint.safetensors"
    process = start(long_params, tiny_catalog, folder)
    while not checkpoint.exists():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert whole(checkpoint)
    before = checkpoint.read_bytes()
    # No file may grow beyond half a checkpoint, which is how a disk without room looks to a program.
    limit = (resource.RLIMIT_FSIZE, len(before) // 2)
    message = finish(start(long_params, tiny_catalog, folder, limit), folder, error=True)
    assert "checkpoint.safetensors cannot be written" in message
    assert "make room and run again" in message
    assert checkpoint.read_bytes() == before
    finish(start(long_params, tiny_catalog, folder), folder)
    assert_same_files(folder, reference)


def test_out_of_memory_says_which_batch_to_try(
    start: Start, long_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    large = with_values(
        long_params, {"model.height": 256, "model.width": 128, "train.identities": 8, "train.images": 16}
    )
    # Beyond what is loaded: a third of what the large batch needs, several times what a small one does.
    limit = (resource.RLIMIT_AS, 2 * 2**30)
    message = finish(start(large, tiny_catalog, tmp_path, limit), tmp_path, error=True)
    # It is the batch that is too much: the same network on the same images has room for a small one.
    small = with_values(large, {"train.identities": 2, "train.images": 2, "train.steps": 1})
    (tmp_path / "small").mkdir()
    finish(start(small, tiny_catalog, tmp_path / "small", limit), tmp_path / "small")
    assert message == (
        "out of memory with a batch of P x K = 8 x 16 = 128 images: try P x K = 4 x 16 "
        "(train.identities: 4, train.images: 16)"
    )


def test_the_batch_to_try_next() -> None:
    tried = [(16, 4)]
    while (smaller := smaller_batch(*tried[-1])) is not None:
        tried.append(smaller)
    assert tried == [(16, 4), (8, 4), (4, 4), (4, 2)]
