"""The code of the tutorials and of other pages, to be run by tests."""

import re
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a tutorial, or of ``docs/PAGE``, in one language, in order."""
    place = next(path for path in (_DOCS / "tutorials" / page, _DOCS / page) if path.exists())
    found = re.findall(r"^```(\w*)\n(.*?)^```$", place.read_text(), re.M | re.S)
    return [block for name, block in found if name == language]


def commands(page: str) -> list[str]:
    """The lines that a tutorial says to type, in order."""
    return [line for block in blocks(page, "") for line in block.splitlines() if line]
