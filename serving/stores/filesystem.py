"""A store opened by fsspec, and what it refuses in one line. Credentials come from the environment, as each
driver reads them; none is passed on or printed.
"""

import importlib.util
from typing import Any

from reid.addresses import redacted
from reid.errors import ReidError, UsageError
from serving.protocols import STORES

__all__ = ["file_system", "refused", "store_problem"]

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_CONNECTION_STRING",
    "abfs": "AZURE_STORAGE_CONNECTION_STRING",
    "sftp": "the keys of ssh-agent or ~/.ssh",
}
_NO_CREDENTIALS = ("Credential", "Authentication")  # in the names of the drivers' errors


def file_system(source: str) -> tuple[Any, str]:
    """The file system of an address and the path in it, as fsspec names it.

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

    try:
        # Listings are asked for anew: a job that is run again must see what has changed.
        file_system, path = url_to_fs(source.removeprefix("range+"), use_listings_cache=False)
    except Exception as error:  # noqa: BLE001 - each driver has classes of its own
        raise store_problem(source, error) from None
    return file_system, path


def refused(error: BaseException) -> bool:
    """Whether it helps nothing to ask a store again."""
    return isinstance(error, FileNotFoundError) or _forbidden(error) or _without_credentials(error)


def _forbidden(error: BaseException) -> bool:
    return isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)


def _without_credentials(error: BaseException) -> bool:
    return any(word in type(error).__name__ for word in _NO_CREDENTIALS)


def store_problem(source: str, error: BaseException, kind: str = "video", done: str = "read") -> ReidError:
    """The one line on what a store refused to have ``done`` with a ``kind`` of thing. The drivers' own
    messages are left out: they may repeat requests with what is secret in them.
    """
    name, reason = f"{kind} {redacted(source)}", type(error).__name__
    where = _CREDENTIALS.get(source.partition("://")[0].lower())
    if isinstance(error, FileNotFoundError):
        return ReidError(f"{name} does not exist, or its bucket does not: check the address")
    if _forbidden(error):
        may = "list and read" if done == "read" else "list, read, write and delete in"
        way_out = f": check that those in the environment ({where}) may {may} it" if where else ""
        return ReidError(f"{name} may not be {done} with these credentials{way_out}")
    if _without_credentials(error) and where:
        return ReidError(f"{name}: there are no credentials ({reason}): set {where}")
    return ReidError(f"{name} cannot be {done} ({reason}): check the address, the network and the store")
