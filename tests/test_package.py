"""What is installed: serving's requirements are one list."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_what_serving_needs_is_one_list() -> None:
    """``requirements/serve.in`` is the first part of the dependencies in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text()
    part = text.partition("    # serving:")[2].partition("    # training")[0]
    serving = re.findall(r'^    "([^"]+)"', part, flags=re.M)
    assert serving == tomllib.loads(text)["project"]["dependencies"][: len(serving)] and serving
    lines = (ROOT / "requirements" / "serve.in").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == serving
    pinned = {
        line.partition("==")[0] for line in (ROOT / "requirements" / "serve.txt").read_text().splitlines()
    }
    assert {re.split("[<>=]", one)[0] for one in serving} <= pinned
