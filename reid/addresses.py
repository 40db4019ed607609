"""Addresses with what may be secret in them: user, password, query. Torch-free."""

import re

__all__ = ["is_url", "redacted", "redacted_text"]


def is_url(source: str) -> bool:
    """Whether a text is an address and not a path."""
    return "://" in source


def redacted(source: str) -> str:
    """A source without what may be secret: user, password, query and fragment of a URL."""
    if not is_url(source):
        return source
    scheme, _, rest = source.partition("://")
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    cut_short = host.startswith("[") and "]" not in host
    # What should be a port and is no number is the beginning of a password with a slash, a question mark or a
    # hash in it.
    port = host.rpartition("]")[2].partition(":")[2]
    if cut_short or (port and not port.isdecimal()):
        return f"{scheme}://..."
    return f"{scheme}://{host}{slash}{path}"


def redacted_text(text: str) -> str:
    """A message of some library without the users and passwords of the addresses in it."""
    return re.sub(r"(\w+://)[^/\s]*@", r"\1", text)
