"""A store opened by fsspec, and what it refuses in one line. Credentials come from the environment, as each
driver reads them; none is passed on or printed.
"""

import importlib.util
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from reid.addresses import redacted
from reid.errors import ReidError, UsageError
from serving.protocols import STORES
from serving.stores.azure import register_azure

__all__ = ["asked_again", "file_system", "store_problem"]

T = TypeVar("T")
_LONGEST_S = 30.0  # after which nothing is asked again: the drivers try again for a while themselves

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_CONNECTION_STRING",
    "abfs": "AZURE_STORAGE_CONNECTION_STRING",
    "sftp": "a key in ssh-agent or ~/.ssh, or FSSPEC_SFTP_PASSWORD",
}
_NO_CREDENTIALS = ("Credential", "Authentication")  # in the names of the drivers' errors
_HOLDERS = {"az": "container", "abfs": "container", "sftp": "folder"}  # of files; else a bucket
_OTHER_HOST = "BadHostKeyException"
_LOGGERS = ("adlfs", "aiobotocore", "asyncio", "azure", "botocore", "fsspec", "gcsfs", "google", "paramiko")


def file_system(source: str, kind: str = "video", done: str = "read") -> tuple[Any, str]:
    """The file system of an address and the path in it, as fsspec names it; ``kind`` and ``done`` are for
    :func:`store_problem`.

    Raises:
        UsageError: the package that it needs is not installed.
        ReidError: it cannot be reached.
    """
    scheme = source.partition("://")[0].lower()
    package, extra = STORES[scheme]
    missing = next((name for name in ("fsspec", package) if importlib.util.find_spec(name) is None), None)
    if missing is not None:
        raise UsageError(
            f"{scheme}:// needs the package {missing}, which is not installed: "
            f'pip install "reid-pipeline[{extra}]"'
        )
    from fsspec.core import url_to_fs

    _quieten()
    try:
        if scheme == "sftp":
            from serving.stores.sftp import sftp_files

            return sftp_files(source)
        if package == "adlfs":
            register_azure()
        # Listings are asked for anew: a job that is run again must see what has changed.
        file_system, path = url_to_fs(source.removeprefix("range+"), use_listings_cache=False)
    except Exception as error:  # noqa: BLE001 - each driver has classes of its own
        if isinstance(error, ValueError) and scheme in _CREDENTIALS:
            error = _CredentialsError()  # nobody has been asked yet: they cannot be made sense of
        raise store_problem(source, error, kind, done) from None
    return file_system, path


def asked_again(
    store: Any,
    ask: Callable[[], T],
    waits_s: Sequence[float],
    problem: Callable[[BaseException], ReidError],
    check: Callable[[], None] | None = None,
) -> T:
    """What ``ask`` gives, asked again with longer and longer waits where that may help.

    Args:
        store: the file system that is asked.
        ask: the question.
        waits_s: before each further try.
        problem: what to raise for the error after which there is none.
        check: asked before each further try; what it raises ends them.

    Raises:
        ReidError: there is no answer.
    """
    end = time.monotonic() + _LONGEST_S
    for wait_s in (*waits_s, None):
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - each driver has classes of its own
            if wait_s is None or _refused(error) or time.monotonic() > end:
                raise problem(error) from None
        _connect_anew(store)
        if check is not None:
            check()
        time.sleep(wait_s)
    raise AssertionError


def _connect_anew(store: Any) -> None:
    """Leave a connection on which something went wrong; most drivers make one for each request anyway."""
    if (drop := getattr(store, "drop", None)) is not None:
        with suppress(Exception):  # it is broken
            drop()


@cache
def _quieten() -> None:
    """What drivers log goes to whoever listens, and without one to nobody instead of onto the screen: it may
    repeat requests, and says many times what is said here in a line.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())


class _CredentialsError(Exception):
    """Those in the environment are none."""


def _refused(error: BaseException) -> bool:
    """Whether it helps nothing to ask a store again."""
    if type(error).__name__ == _OTHER_HOST:
        return True
    return isinstance(error, FileNotFoundError) or _forbidden(error) or _without_credentials(error)


def _forbidden(error: BaseException) -> bool:
    answers = [getattr(error, name, None) for name in ("status", "status_code", "code")]
    # gcsfs has only words for what other drivers have numbers for.
    return (
        isinstance(error, PermissionError)
        or any(one in (401, 403) for one in answers)
        or (type(error) is OSError and str(error).startswith("Forbidden"))
    )


def _without_credentials(error: BaseException) -> bool:
    return any(word in type(error).__name__ for word in _NO_CREDENTIALS)


def store_problem(source: str, error: BaseException, kind: str = "video", done: str = "read") -> ReidError:
    """The one line on what a store refused to have ``done`` with a ``kind`` of thing. The drivers' own
    messages are left out: they may repeat requests with what is secret in them.
    """
    name, reason = f"{kind} {redacted(source)}", type(error).__name__
    scheme = source.partition("://")[0].lower()
    where, holder = _CREDENTIALS.get(scheme), _HOLDERS.get(scheme, "bucket")
    if isinstance(error, FileNotFoundError):
        return ReidError(f"{name} does not exist, or its {holder} does not: check the address")
    if reason == _OTHER_HOST:
        return ReidError(
            f"{name} cannot be {done}: the host has another key than ~/.ssh/known_hosts names. Where it was "
            "given a new one, remove the old by ssh-keygen -R; where not, something stands in between"
        )
    if _forbidden(error):
        may = "list and read" if done == "read" else "list, read, write and delete in"
        way_out = f": check that those in the environment ({where}) may {may} it" if where else ""
        return ReidError(f"{name} may not be {done} with these credentials{way_out}")
    if _without_credentials(error) and where:
        return ReidError(f"{name}: there are no credentials that the store takes: want {where}")
    return ReidError(f"{name} cannot be {done} ({reason}): check the address, the network and the store")
