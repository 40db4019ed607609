"""Addresses with what may be secret in them: user, password, query. Torch-free."""

import re
from urllib.parse import urlsplit, urlunsplit

__all__ = ["is_url", "redacted", "redacted_text"]


def is_url(source: str) -> bool:
    """Whether a text is an address and not a path."""
    return "://" in source


def redacted(source: str) -> str:
    """A source without what may be secret: user, password, query and fragment of a URL."""
    if not is_url(source):
        return source
    try:
        parts = urlsplit(source)
    except ValueError:  # an IPv6 address that is cut short
        return f"{source.partition('://')[0]}://..."
    host = parts.netloc.rpartition("@")[2]
    # A scheme before the scheme, as in async:rtsp://..., leaves the whole address in the path.
    path = redacted(parts.path) if is_url(parts.path) else parts.path
    return urlunsplit((parts.scheme, host, path, "", ""))


def redacted_text(text: str) -> str:
    """A message of some library without the users and passwords of the addresses in it."""
    return re.sub(r"(\w+://)[^/\s]*@", r"\1", text)
