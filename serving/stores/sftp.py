"""Files on an SFTP server: fsspec's driver, with what a job needs that reads for hours, in many threads.

Imported when an address asks for it, and not before: it loads paramiko, which an extra brings.
"""

import os
import threading
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

__all__ = ["sftp_files"]

_CONNECT_S = 30.0
_ANSWER_S = 60.0  # without a byte, and the connection is given up
_PRIVATE = 0o700


def sftp_files(address: str) -> tuple[Any, str]:
    """The file system of an ``sftp://`` address and the path in it.

    Keys come from ssh-agent and ``~/.ssh``. A host that ``~/.ssh/known_hosts`` names must have the key that
    stands there; another one is taken as it is.

    Raises:
        Exception: of paramiko or the system; it cannot be reached, or takes none of the keys.
    """
    rest = address.partition("://")[2]
    return _opened(os.getpid(), urlsplit(address).netloc), "/" + rest.partition("/")[2]


@cache
def _opened(_: int, place: str) -> Any:
    """One connection of this process to a server: each costs a handshake, and servers allow few at a time."""
    parts = urlsplit(f"sftp://{place}")
    named = {"port": parts.port, "username": parts.username}
    return Files(
        host=parts.hostname, skip_instance_cache=True, **{key: one for key, one in named.items() if one}
    )


class Files(SFTPFileSystem):
    """As fsspec has it, for several threads, and connected anew after :meth:`drop`."""

    cachable = False

    def __init__(self, **options: Any) -> None:
        self._lock = threading.RLock()
        self._ftp: Any = None
        super().__init__(**options)

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        self.client.load_system_host_keys()
        self.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        waits = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), _CONNECT_S)
        try:
            self.client.connect(self.host, **waits | self.ssh_kwargs)
        except paramiko.SSHException as error:
            shaken_hands = self.client.get_transport().is_active()
            self.client.close()
            if shaken_hands and not isinstance(error, paramiko.BadHostKeyException):
                # What is wrong with keys has many classes, or none.
                raise paramiko.AuthenticationException(type(error).__name__) from None
            raise
        self.client.get_transport().set_keepalive(30)
        self._ftp = self.client.open_sftp()
        self._ftp.get_channel().settimeout(_ANSWER_S)

    @property
    def ftp(self) -> Any:
        if self._ftp is None:
            self._connect()
        return self._ftp

    def drop(self) -> None:
        """Close a connection on which something went wrong: answers may come to other questions."""
        with self._lock:
            self._ftp = None
            self.client.close()

    def info(self, path: str, **_: Any) -> Any:
        with self._lock:
            return super().info(path)

    def ls(self, path: str, detail: bool = False, **_: Any) -> Any:
        try:
            with self._lock:
                found = super().ls(path, detail=True)
                found = [one | (self._behind(one["name"]) if one["type"] == "link" else {}) for one in found]
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:  # by which fsspec would take a broken connection for an empty folder
            raise paramiko.SSHException("a listing did not come") from error
        return found if detail else sorted(one["name"] for one in found)

    def _behind(self, link: str) -> dict[str, Any]:
        try:
            return dict(super().info(link))
        except FileNotFoundError:
            return {}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        # In many requests at a time: one after the other, each would take the way there and back.
        with self._lock, self.ftp.open(path, "rb") as stream:
            size = stream.stat().st_size
            first, last = start or 0, size if end is None else min(end, size)
            return b"".join(stream.readv([(first, last - first)])) if last > first else b""

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        with self._lock:
            self.ftp.get(rpath, lpath)

    def put_file(self, lpath: str, rpath: str, *_: Any, **__: Any) -> None:
        """Copy a file there; it appears whole or not at all, and new folders are their owner's alone."""
        with self._lock:
            self.makedirs(self._parent(rpath), exist_ok=True, mode=_PRIVATE)
            self.ftp.put(lpath, f"{rpath}.part")
            try:
                self.ftp.posix_rename(f"{rpath}.part", rpath)
            except OSError:  # a server that only renames to names that are free
                if self.exists(rpath):
                    self.ftp.remove(rpath)
                self.ftp.rename(f"{rpath}.part", rpath)

    def rm_file(self, path: str) -> None:
        with self._lock:
            self.ftp.remove(path)

    def rmdir(self, path: str) -> None:
        with self._lock:
            self.ftp.rmdir(path)
