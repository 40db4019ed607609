"""A job whose footage gives nothing ends all the same, and says so."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.serving.execution_job import FRAMES, make_place, match_command

# A decoder that hangs cannot be had. This stands in for it in every process of a job: from the 40th packet of
# two.avi on, reading waits for ever, with Python's lock free or holding it, once the job has its index and
# works through segments.
_STANDS_STILL = """
import ctypes, os, threading
import av

opened = av.open

class Still:
    def __init__(self, container):
        self.__dict__["container"] = container

    def __getattr__(self, name):
        return getattr(self.container, name)

    def demux(self, stream):
        for number, packet in enumerate(self.container.demux(stream)):
            if number == 40 and os.path.exists(os.environ["LEDGER"]):
                if os.environ["HOW"] == "locked":
                    ctypes.PyDLL(None).sleep(10000)
                threading.Event().wait()
            yield packet

def open_still(file, *arguments, **options):
    container = opened(file, *arguments, **options)
    return Still(container) if str(file).endswith("two.avi") and "w" not in arguments else container

av.open = open_still
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_place(tmp_path_factory.mktemp("still"))
    (folder / "fake").mkdir()
    (folder / "fake" / "sitecustomize.py").write_text(_STANDS_STILL)
    job = yaml.safe_load((folder / "job.yaml").read_text()) | {"stall_s": 1.0}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


@pytest.mark.parametrize(
    ("how", "options", "words"),
    [
        ("free", [], "nothing came for 1 s"),
        pytest.param("free", ["--workers", "2"], "nothing came for 1 s", marks=pytest.mark.slow),
        pytest.param(
            "locked", ["--workers", "2"], "was killed or stood still 3 times", marks=pytest.mark.slow
        ),
        pytest.param("free", ["--ray", "local"], "nothing came for 1 s", marks=pytest.mark.slow),
    ],
    ids=["in process", "workers", "workers, with the interpreter's lock", "ray"],
)
def test_a_camera_that_stands_still_is_a_problem_line_and_the_job_ends(
    place: Path, how: str, options: list[str], words: str
) -> None:
    out = place / "-".join(["out", how, *(one.strip("-") for one in options)])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            [str(place / "fake"), str(Path(__file__).parents[4]), os.environ.get("PYTHONPATH", "")]
        ),
        "LEDGER": str(place / f".{out.name}.work" / "ledger.json"),
        "HOW": how,
    }
    ended = subprocess.run(
        match_command(place, out, *options),
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )
    assert ended.returncode == 3, ended.stderr
    lines = ended.stderr.splitlines()
    assert lines
    assert all(line.startswith("camera two: ") and words in line for line in lines)
    counts = json.loads((out / "job.json").read_text())["counts"]["cameras"]
    assert (counts["one"]["frames"], counts["two"]["frames"]) == (FRAMES, 0)
