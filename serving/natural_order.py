"""Names in the order in which people count."""

import re

__all__ = ["natural_key"]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts names as people do: 2 before 10."""
    return [
        (0, int(part), part) if part.isascii() and part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
        if part
    ]
