"""One file from an address: through a proxy where the environment names one, going on after a cut, whole or
not at all.
"""

import base64
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO, Any

from reid.addresses import redacted, redacted_text
from reid.errors import ReidError, UsageError
from reid.files import make_parents

__all__ = ["check_file", "download"]

_BLOCK = 1 << 16
_TIMEOUT_S = 30
_ATTEMPTS = 5  # that bring nothing; one that brought something does not count
_PAUSE_S = 0.5  # before the second attempt, and twice as long before each further one
_PAGES = (b"<!doctype html", b"<html")


class _CutError(Exception):
    """The connection ended before the file."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise ReidError(
                f"{redacted(req.full_url)} redirects to {redacted(newurl)}, which is not encrypted: nothing "
                "was fetched; get the file another way and name it with --from"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    path: Path,
    *,
    digest: tuple[str, str] | None = None,
    update: Callable[[int, int], None] | None = None,
    pause_s: float = _PAUSE_S,
) -> str:
    """Fetch a file.

    What came before a cut is kept beside ``path`` as ``NAME.part``, and asked for no more, unless the server
    says that the file is another one now.

    Args:
        url: http or https.
        path: where it is put, once it is whole and its hash is right.
        digest: the kind of hash and the hash; None where none is known.
        update: takes (bytes there, bytes in all).
        pause_s: before the second attempt.

    Returns:
        The file's SHA-256.

    Raises:
        UsageError: the address is neither http nor https.
        ReidError: the server has no such file, the connection is cut again and again, or the hash is wrong;
            nothing is at ``path`` then.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{redacted(url)} is neither an http nor an https address")
    make_parents(path)
    part, tag = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.tag")
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, tag, update)
            break
        except (OSError, http.client.HTTPException, _CutError) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures == _ATTEMPTS:
                raise _unreachable(url, part, error) from error
            time.sleep(pause_s * 2 ** max(0, failures - 1))
    _refuse_page(url, part, tag)
    try:
        found = check_file(part, digest, redacted(url))
    except ReidError:
        _forget(part, tag)
        raise
    with open(part, "rb") as stream:
        os.fsync(stream.fileno())
    part.replace(path)
    _forget(tag)
    return found


def check_file(path: Path, digest: tuple[str, str] | None, what: str) -> str:
    """SHA-256 of a file that has the hash which was published.

    Args:
        path: the file.
        digest: the kind of hash and the hash; None where none is known.
        what: the file's name or address, for the message.

    Raises:
        ReidError: it has another hash.
    """
    if digest is not None:
        kind, wanted = digest
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != wanted:
            raise ReidError(
                f"{what} has the {kind.upper()} {found}, published is {wanted}: it was changed or damaged, "
                "and was not kept; fetch it from elsewhere (--mirror, --from)"
            )
        if kind == "sha256":
            return found
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _receive(url: str, part: Path, tag: Path, update: Callable[[int, int], None] | None) -> None:
    have = _size(part)
    headers = {"User-Agent": "reid-pipeline", "Accept-Encoding": "identity"}
    if have and tag.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text()}
    try:
        response = _opener().open(_request(url, headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is longer than the file
            _forget(part, tag)
        if error.code in (408, 416, 429) or error.code >= 500:
            raise
        raise ReidError(
            f"{redacted(url)} answers {error.code} {error.reason}: the file is not there any more, or wants "
            "a login; get it another way and name it with --from"
        ) from error
    with response:
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        have = have if goes_on else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        _note(tag, response.headers)
        with open(part, "ab" if goes_on else "wb") as stream:
            while block := response.read(_BLOCK):
                stream.write(block)
                have += len(block)
                if update is not None:
                    update(have, max(total, have))
    if have < total:
        raise _CutError(f"{have} of {total} bytes came")


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    """With user and password of the address as a header, which a redirect does not take along."""
    parts = urllib.parse.urlsplit(url)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(plain, headers=headers)  # noqa: S310 - http and https alone have handlers
    if parts.username is not None:
        said = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(said.encode()).decode()}")
    return request


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _note(tag: Path, headers: Message) -> None:
    """What tells this version of the file from another: only with it can a part be gone on with."""
    strong = headers.get("ETag", "")
    validator = strong if strong and not strong.startswith("W/") else headers.get("Last-Modified", "")
    if validator:
        tag.write_text(validator)
    else:
        _forget(tag)


def _refuse_page(url: str, part: Path, tag: Path) -> None:
    with open(part, "rb") as stream:
        begin = stream.read(64).lstrip().lower()
    if begin.startswith(_PAGES):
        _forget(part, tag)
        raise ReidError(
            f"{redacted(url)} gives a web page and not the file: open the address in a browser, and name "
            "what it saves with --from"
        )


def _unreachable(url: str, part: Path, error: Exception) -> ReidError:
    reason = redacted_text(" ".join(str(error).split()) or type(error).__name__)[:200]
    kept = f"; what came is kept in {part}, and the same command goes on from there" if _size(part) else ""
    return ReidError(
        f"{redacted(url)} could not be fetched ({reason}){kept}: try again, or use --mirror or --from"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _forget(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
