"""Errors meant for a person: one line that names the thing and the way out.

Torch-free. The command line prints the message alone and exits with ``exit_code``.
"""

__all__ = ["ReidError", "UsageError"]


class ReidError(Exception):
    """Something about the input is wrong: a file, a model, a gallery, a video."""

    exit_code = 1


class UsageError(ReidError):
    """The command was called wrongly: an unknown key, a missing argument, a path that does not exist."""

    exit_code = 2
