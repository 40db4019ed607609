"""Bad inputs by the thousand: ``python -m tests.fuzz.run --count 10000``; ``--seed N --count 1`` repeats one.

Each seed is one command or stage in a fresh copy of a valid folder, with one thing made wrong. Commands run
in forked processes that have loaded everything; the parent ends one that hangs. What may come of it is in
:func:`faults`.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.fuzz.commands import COMMANDS, Command
from tests.fuzz.mutations import damage_environment, damage_file, evil_word
from tests.fuzz.place import make_place

__all__ = ["Case", "Outcome", "load_everything", "make_case", "make_template", "run_many", "small_disk"]

HANG_S = 30.0
ROOM_KIB = (0, 16, 256)  # what a disk that is as good as full still takes
MEMORY = 16 * 2**30
NOISE = re.compile(
    r"libpng|TIFF|JPEG|jpeg|\[ ?(WARN|ERROR|INFO)|OpenCV|Warning|warnings\.warn|"
    r"^\[\w+ @|faiss|Exception ignored|error:",
    re.MULTILINE,
)


@dataclass
class Case:
    """One input: a command, its words after a change, and what was changed."""

    seed: int
    command: Command
    words: list[str]
    environment: dict[str, str | None] = field(default_factory=dict)
    damage: str = "nothing"
    full_disk: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a seed; ``faults`` is empty where it is allowed."""

    seed: int
    what: str
    code: int | None
    faults: tuple[str, ...]
    output: str = ""


def make_case(seed: int, folder: Path) -> Case:
    """Choose a command for a seed and damage something in ``folder`` or in the words."""
    rng = random.Random(seed)
    command = rng.choice(COMMANDS)
    case = Case(seed, command, list(command.words), dict(command.environment))
    how = rng.random()
    if how < 0.55 or not case.words:
        path = folder / rng.choice(command.reads)
        if path.is_dir():
            path = rng.choice(sorted(one for one in path.rglob("*") if one.is_file()))
        case.damage = f"{path.relative_to(folder)}: {damage_file(path, rng)}"
    elif how < 0.88:
        first = 0 if command.stage else 2 if case.words[0] in ("gallery", "runs", "models", "metric") else 1
        at = rng.randrange(first, len(case.words)) if len(case.words) > first else 0
        if rng.random() < 0.1:
            case.damage = f"without {case.words.pop(at)!r}"
        else:
            case.damage, case.words[at] = f"word {case.words[at]!r}", evil_word(rng)
    elif how < 0.95:
        case.environment |= damage_environment(folder, rng)
        case.damage = f"environment {sorted(case.environment)}"
    return case


@contextmanager
def small_disk(folder: Path, template: Path) -> Iterator[None]:
    """A file system of its own in ``folder``, of the template's size and a little more. Takes root."""
    size = sum(path.stat().st_size + 8192 for path in template.rglob("*") if not path.is_symlink())
    command = ["mount", "-t", "tmpfs", "-o", f"size={size + 2**21}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, room: int) -> None:
    """Leave ``room`` bytes on the disk of a folder."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with (folder / ".filled").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - room))


def on_full_disk(number: int, folder: Path) -> Case:
    """Each command in turn, with another room each time."""
    command = COMMANDS[number % len(COMMANDS)]
    room = ROOM_KIB[(number + number // len(COMMANDS)) % len(ROOM_KIB)]
    fill(folder, room * 1024)
    damage = f"a disk with {room} KiB left"
    return Case(number, command, list(command.words), dict(command.environment), damage, full_disk=True)


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        content = (
            "" if not path.is_file() or path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        content = str(path.readlink()) if path.is_symlink() else content
        found[str(path.relative_to(folder))] = (facts.st_mode, content)
    return found


def faults(
    case: Case, code: int | None, error: str, before: dict[str, Any], after: dict[str, Any]
) -> Iterator[str]:
    """What is wrong about an outcome. Allowed are a right answer, and one line with exit code 1 or 2 that
    leaves everything as it was.
    """
    if code not in (0, 1, 2, 3):
        yield f"exit code {code}"
    if "Traceback" in error:
        yield f"traceback: {error.strip().splitlines()[-1][:200]}"
    strange = [line for line in error.splitlines() if NOISE.search(line) and not line.startswith("reid: ")]
    if strange and not _of_typer(error):
        yield f"noise: {strange[0][:200]}"
    if case.damage == "nothing" and code not in (0, 3) and not case.command.fails:
        usual = ("switch", "forget", "index")  # there is no second model and too little to index
        if not any(word in case.words for word in usual):
            yield f"a valid input ended with {code}: {error.strip()[-200:]}"
    lines = [line for line in error.splitlines() if line.startswith("reid: ")]
    if code in (1, 2) and "verify" not in case.words and not _of_typer(error) and len(lines) != 1:
        yield f"{len(lines)} lines for people"
    if any(len(line) > 1500 for line in lines):
        yield "a line of a page's length"
    allowed = case.command.writes if code in (0, 3) else ()
    if "purge_pending" in case.damage and "gallery.db" in case.command.writes:
        # Whoever opens a gallery for writing first ends the erasure that was cut short, whatever comes then.
        allowed = (*allowed, "gallery.db")
    if case.full_disk:
        # SQLite cannot take back the log that it could not make. Several people are enrolled one by one. What
        # a stage wrote before it failed is none of its results: DVC knows.
        allowed = (*allowed, "gallery.db-shm", "gallery.db-wal")
        if case.command.stage or case.words[:2] == ["gallery", "enroll"]:
            allowed = (*allowed, *case.command.writes)
    # An option that names an output may name another one.
    named = [word.rstrip("/").partition("=")[0] for word in case.words if code in (0, 3)]
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and not any(
            Path(name).is_relative_to(one) for one in allowed if one
        ):
            if name not in before and any(
                Path(name).is_relative_to(one) or Path(one).is_relative_to(name) for one in named if one
            ):
                continue
            how = "removed" if name not in after else "changed" if name in before else "left"
            yield f"{how}: {name[-80:]}"
    open_to_all = ("m.prom", "data", "galleries", "reports", "results", "new", "out")
    people = [one for one in case.command.writes if case.command.private and one not in open_to_all]
    for name, (mode, _) in after.items():
        is_new = name not in before and any(Path(name).is_relative_to(one) for one in people)
        if is_new and mode & 0o077 and not name.endswith("score.json"):
            yield f"others may read {name[-80:]}"


def _of_typer(error: str) -> bool:
    """Whether it is the command line's own complaint about its words."""
    return "Usage:" in error or "requires an argument" in error


def run_case(case: Case, folder: Path) -> tuple[int | None, str]:
    """Run a case in this process; returns the exit code and what was written on standard error."""
    for name, value in case.environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    os.chdir(folder)
    os.umask(0)
    with tempfile.TemporaryFile() as stderr, open(os.devnull, "wb") as nowhere:
        kept = os.dup(1), os.dup(2)
        os.dup2(nowhere.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
        try:
            code: int | None = _call(case)
        except BaseException:  # noqa: BLE001 - it is what is looked for
            traceback.print_exc()
            code = None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
        stderr.seek(0)
        return code, stderr.read().decode("utf-8", "replace")


def _call(case: Case) -> int:
    from importlib import import_module

    from pipelines.cli import main
    from pipelines.stage.console import run_stage

    sys.argv = ["reid", *case.words]
    try:
        if case.command.stage:
            run_stage(import_module(f"pipelines.{case.command.stage}").main)
        else:
            main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _work(template: str, seeds: list[int], out: Connection, full_disk: bool) -> None:
    """In a forked process: work through seeds, telling of each when it begins and what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    clean = dict(os.environ)
    for seed in seeds:
        scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=Path(template).parent))
        folder = scratch / "place"
        folder.mkdir()
        with small_disk(folder, Path(template)) if full_disk else nullcontext():
            shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
            _move_job(Path(template), folder)
            os.environ.clear()
            os.environ.update(clean | {"XDG_CACHE_HOME": str(Path(template).parent / "cache")})
            tempfile.tempdir = None
            case = on_full_disk(seed, folder) if full_disk else make_case(seed, folder)
            what = f"{case.command.name} | {case.damage[:160]} | {' '.join(case.words)[:200]}"
            out.send(("begin", seed, what))
            before = snapshot(folder)
            code, error = run_case(case, folder)
            os.chdir("/")
            found = tuple(faults(case, code, error, before, snapshot(folder)))
        out.send(("done", seed, Outcome(seed, what, code, found, error[-4000:] if found else "")))
        shutil.rmtree(scratch, ignore_errors=True)
    out.send(("end", 0, None))


def _move_job(template: Path, folder: Path) -> None:
    """The finished job becomes that of the copied job file: a job is known by the absolute paths in it; so
    are its segments.
    """
    from serving.spec import load_job

    job, path = load_job(folder / "job.yaml"), folder / "found" / "job.json"
    record = json.loads(path.read_text().replace(str(template), str(folder)))
    path.write_text(json.dumps(record | {"job_key": job.key(), "seen_key": job.seen_key()}))
    ledger = folder / "found" / "kept-segments" / "ledger.json"
    stored = json.loads(ledger.read_text().replace(str(template), str(folder)))
    ledger.write_text(json.dumps(stored | {"seen_key": job.seen_key()}))


def run_many(
    seeds: list[int], template: Path, workers: int = 2, full_disk: bool = False
) -> Iterator[Outcome]:
    """Work through seeds in forked processes; one that hangs or dies is an outcome of its seed, and the
    others go on. With ``full_disk`` they are numbers for :func:`on_full_disk`.
    """
    context = get_context("fork")
    waiting = [seeds[start : start + 50] for start in range(0, len(seeds), 50)][::-1]
    # Process, its seeds left, seed and time of the one under way, what it is.
    running: dict[Connection, list[Any]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(str(template), waiting[-1], theirs, full_disk))
            process.start()
            theirs.close()
            running[ours] = [process, waiting.pop(), None, time.monotonic(), "", time.monotonic()]
        for pipe in wait(list(running), timeout=1.0):
            assert isinstance(pipe, Connection)
            state = running[pipe]
            try:
                kind, seed, value = pipe.recv()
            except EOFError:
                yield from _ended(running.pop(pipe), waiting, "the process died")
                continue
            if kind == "begin":
                state[2:5] = [seed, time.monotonic(), value]
            elif kind == "done":
                state[1] = state[1][state[1].index(seed) + 1 :]
                state[2] = None
                yield value
            else:
                state[0].join()
                del running[pipe]
        for pipe, state in list(running.items()):
            if state[2] is not None and time.monotonic() - state[3] > HANG_S:
                state[0].kill()
                yield from _ended(running.pop(pipe), waiting, f"hung for {HANG_S:.0f} s")


def _ended(state: list[Any], waiting: list[list[int]], how: str) -> Iterator[Outcome]:
    process, seeds, seed, _, what, _ = state
    process.join()
    if seed is not None:
        yield Outcome(seed, what, process.exitcode, (f"{how} ({process.exitcode})",))
        seeds = seeds[seeds.index(seed) + 1 :]
    if seeds:
        waiting.append(seeds)


def load_everything() -> None:
    """Import what commands import when they run, before the processes are forked."""
    import onnxruntime  # noqa: F401

    import serving.gallery.index.compact
    import serving.gallery.models
    import serving.job.afterwards.promotion
    import serving.job.report
    import serving.job.run
    import serving.scoring.crops
    import serving.scoring.tracking  # noqa: F401


def make_template(folder: Path) -> Path:
    """The valid folder, made in a process of its own: libraries whose threads have worked here could not be
    forked.
    """
    process = get_context("fork").Process(target=make_place, args=(folder,))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("the valid folder could not be made")
    return folder


def main() -> None:
    """Print every fault, and the kinds of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--full-disk",
        type=int,
        metavar="ROUNDS",
        default=0,
        help="also every command, valid, on a full disk, so often (root only)",
    )
    chosen = parser.parse_args()
    seeds = list(range(chosen.seed, chosen.seed + chosen.count))
    numbers = list(range(chosen.full_disk * len(COMMANDS)))
    began, kinds, codes = time.monotonic(), Counter[str](), Counter[int | None]()
    with tempfile.TemporaryDirectory(prefix="reid-fuzz-") as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        load_everything()
        template = make_template(Path(folder) / "template")
        for outcome in chain(
            run_many(seeds, template, chosen.workers),
            run_many(numbers, template, chosen.workers, full_disk=True),
        ):
            codes[outcome.code] += 1
            for fault in outcome.faults:
                kinds[re.sub(r"[\d.]+|'[^']*'|/\S+", "#", fault)[:100]] += 1
            if outcome.faults:
                print(
                    json.dumps(
                        {
                            "seed": outcome.seed,
                            "what": outcome.what,
                            "code": outcome.code,
                            "faults": outcome.faults,
                        }
                    ),
                    flush=True,
                )
                if len(seeds) == 1:
                    print(outcome.output)
    for kind, count in kinds.most_common():
        print(f"{count:6} {kind}")
    print(
        f"{sum(codes.values())} inputs in {time.monotonic() - began:.0f} s, exit codes {dict(codes)}, "
        f"{sum(kinds.values())} faults"
    )
    sys.exit(1 if kinds else 0)


if __name__ == "__main__":
    main()
