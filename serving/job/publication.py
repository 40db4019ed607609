"""A job's output in a store: worked at in a folder of this machine, and published when it is done.

Each segment is stored there as it is finished, so that another machine goes on where this one was lost. The
record of the job, ``job.json``, is removed first and written last: who finds it finds everything else.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from reid.addresses import is_url, redacted
from reid.cache import private_cache
from reid.errors import ReidError
from reid.files import atomic_directory
from serving.job.layout import JobFolder, SegmentFolder, WorkFolder
from serving.stores import StoredFolder

__all__ = ["PublishedOutput", "published_output"]

_PROBE = "probe"


class PublishedOutput:
    """An output folder at ``address``; one job at a time may work at it.

    Attributes:
        local: the folder of this machine that stands for it until it is published.

    Raises:
        UsageError: the store needs a package that is not installed.
        ReidError: the address is none that outputs can be written to.
    """

    def __init__(self, address: str) -> None:
        self._there = StoredFolder(address)
        self.address = self._there.address
        above, _, name = self.address.rpartition("/")
        if above.endswith("/"):
            raise ReidError(f"output {redacted(self.address)} is all of a store: name a folder in it")
        self._segments = StoredFolder(f"{above}/.{name}.work", self.address)
        digest = hashlib.sha256(self.address.encode()).hexdigest()[:32]
        self.local = private_cache("reid-outputs") / digest / name
        self._work = WorkFolder.of(self.local)
        self._record = JobFolder(self.local).record
        self._ledger: bytes | None = None  # of the segments that are there
        self._owed: list[Path] = []

    def begin(self) -> None:
        """Fetch what is there: a finished output that this machine has not, and the segments of an unfinished
        one. That it can be written is tried now and not after hours.

        Raises:
            ReidError: it cannot be read or written.
        """
        with tempfile.NamedTemporaryFile(prefix="reid-") as empty:
            self._segments.put(Path(empty.name), _PROBE)
        self._segments.remove(_PROBE)
        names = self._there.names()
        if self._record.name in names and not self._is_published():
            with atomic_directory(self.local, private=True) as temporary:
                for name in names:
                    self._there.fetch(name, temporary / name)
        stored = self._segments.names()
        ledger = self._work.ledger.name
        if ledger not in stored:
            return
        self._ledger = self._segments.bytes_of(ledger)
        if self._work.path.is_dir() and _content(self._work.ledger) != self._ledger:
            return  # the job decides whether it takes what is here
        self._work.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._work.ledger.write_bytes(self._ledger)
        whole = SegmentFolder(Path()).counts.name  # is stored last
        for name in (one.partition("/")[0] for one in stored if one.endswith(f"/{whole}")):
            if not (folder := self._work.segment(name).path).is_dir():
                with atomic_directory(folder, private=True) as temporary:
                    for one in (one for one in stored if one.startswith(f"{name}/")):
                        self._segments.fetch(one, temporary / one.partition("/")[2])

    def keep(self, folder: Path) -> None:
        """Store a segment that is finished. One that the store does not take is tried again with the next:
        the work goes on, and only another machine would have to do it again.
        """
        self._owed.append(folder)
        try:
            self._keep_ledger()
            while self._owed:
                files = SegmentFolder(self._owed[0])
                for path in (files.boxes, files.people, files.counts):
                    self._segments.put(path, f"{files.path.name}/{path.name}")
                self._owed.pop(0)
        except ReidError:
            return

    def _keep_ledger(self) -> None:
        ledger = self._work.ledger.read_bytes()
        if ledger != self._ledger:
            for name in self._segments.names():  # of another version of the job
                self._segments.remove(name)
            self._segments.put(self._work.ledger, self._work.ledger.name)
            self._ledger = ledger

    def publish(self) -> None:
        """Put the finished output where it belongs, and remove what it was made from.

        Raises:
            ReidError: the store does not take it. The output is here, and the same command publishes it.
        """
        if not self._is_published():
            record = self._record.name
            self._there.remove(record)
            files = {
                path.relative_to(self.local).as_posix(): path
                for path in sorted(self.local.rglob("*"))
                if path.is_file()
            }
            for name in (name for name in files if name != record):
                self._there.put(files[name], name)
            for name in set(self._there.names()) - set(files):
                self._there.remove(name)
            self._there.put(files[record], record)
        for name in self._segments.names():
            self._segments.remove(name)
        shutil.rmtree(self.local.parent)

    def _is_published(self) -> bool:
        if not self._record.is_file() or self._record.name not in self._there.names():
            return False
        return self._there.bytes_of(self._record.name) == self._record.read_bytes()


def published_output(out: str) -> PublishedOutput | None:
    """The output of a job whose ``--out`` is an address; None where it is a folder of this machine."""
    return PublishedOutput(out) if is_url(out) else None


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
