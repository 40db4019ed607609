"""The texts that a program spells."""

import ast
from pathlib import Path

__all__ = ["texts_in"]


def texts_in(path: Path) -> set[str]:
    """All string literals of a Python file, docstrings too."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
