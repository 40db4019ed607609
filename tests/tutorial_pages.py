"""The code of the tutorials, to be run by tests."""

import re
from pathlib import Path

_PAGES = Path(__file__).parents[1] / "docs" / "tutorials"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a tutorial in one language, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (_PAGES / page).read_text(), re.M | re.S)
    return [block for name, block in found if name == language]


def commands(page: str) -> list[str]:
    """The lines that a tutorial says to type, in order."""
    return [line for block in blocks(page, "") for line in block.splitlines() if line]
