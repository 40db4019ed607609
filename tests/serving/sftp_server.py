"""An SFTP server on loopback (asyncssh's, which shares no code with paramiko)."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from serving.stores import sftp

PASSPHRASE, PASSWORD = "s3cret-phrase-of-the-test", "s3cret-word-of-the-test"


class Server:
    """The files of this machine, at ``sftp://tester@...``; keys lie in ``home``."""

    def __init__(self, home: Path) -> None:
        self.home, self.connections, self.renames = home, 0, True
        self.host_key, self._key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self.port = 0
        self._authorised = home / "authorized_keys"
        self._key.write_public_key(str(self._authorised))
        self.give(self._key)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, path: Path, port: int = 0) -> str:
        return f"sftp://tester@127.0.0.1:{port or self.port}{path}"

    def give(self, key: Any, passphrase: str | None = None) -> None:
        """Let the job have this key; None leaves it without one."""
        path = self.home / ".ssh" / "id_ed25519"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if key is not None:
            key.write_private_key(str(path), passphrase=passphrase)
        sftp._opened.cache_clear()

    def known_as(self, key: Any) -> None:
        """What ``known_hosts`` says of this server."""
        line = f"[127.0.0.1]:{self.port} {key.export_public_key().decode()}"
        (self.home / ".ssh" / "known_hosts").write_text(line)
        sftp._opened.cache_clear()

    async def listen(self) -> None:
        outer = self

        class Connection(asyncssh.SSHServer):
            def connection_made(self, connection: Any) -> None:
                outer.connections += 1

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                return password == PASSWORD

        class Files(asyncssh.SFTPServer):
            def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
                if not outer.renames:
                    raise asyncssh.SFTPOpUnsupported("a server without this extension")
                return super().posix_rename(oldpath, newpath)

        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Connection, server_host_keys=[self.host_key],
            authorized_client_keys=str(self._authorised), sftp_factory=Files,
        )  # fmt: skip
        self.port = server.get_port()


@contextmanager
def sftp_server(home: Path, patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, with the environment in which its key is found."""
    patch.setenv("HOME", str(home))
    patch.delenv("SSH_AUTH_SOCK", raising=False)
    server, loop, begun = Server(home), asyncio.new_event_loop(), threading.Event()

    def work() -> None:
        loop.run_until_complete(server.listen())
        begun.set()
        loop.run_forever()

    threading.Thread(target=work, daemon=True).start()
    assert begun.wait(30)
    try:
        yield server
    finally:
        sftp._opened.cache_clear()
        loop.call_soon_threadsafe(loop.stop)
