"""What a segment does to the process that works it through."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.serving.execution_job import make_place

# A job, then more threads at once than the job can have left heaps behind for.
_HEAPS = """
import ctypes, sys, threading
from pathlib import Path
from serving.job.run import run_job
from serving.job.segments import tasks
from serving.spec import load_job

library = ctypes.CDLL(None)
library.fopen.restype = library.malloc.restype = ctypes.c_void_p

def heaps():
    file = ctypes.c_void_p(library.fopen(b"heaps.xml", b"w"))
    library.malloc_info(0, file)
    library.fclose(file)
    return Path("heaps.xml").read_text().count("<heap nr=")

def allocate():
    [library.malloc(1000) for _ in range(1000)]
    together.wait()

if sys.argv[1] == "by default":
    tasks.share_heap = lambda: False
assert run_job(load_job("job.yaml"), Path(sys.argv[1])).problems == ()
before, together = heaps(), threading.Barrier(12)
threads = [threading.Thread(target=allocate) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(heaps() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of the GNU C library")
def test_threads_of_a_job_share_a_heap(tmp_path: Path) -> None:
    make_place(tmp_path, cameras=1)
    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    job["cameras"][0]["frames"] = [1, 40]
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))

    def new_heaps(way: str) -> int:
        command = [sys.executable, "-c", _HEAPS, way]
        return int(
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=tmp_path).stdout
        )

    assert new_heaps("shared") == 0
    assert new_heaps("by default") > 0
