"""What tests share: where the real data lies, and one torch thread setting."""

import os
from pathlib import Path

import pytest

_SHARED = Path(os.environ.get("REID_SHARED", Path(__file__).parents[2] / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real people, footage and models; a test that needs it is skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(f"no real data at {_SHARED}: set REID_SHARED")
    return _SHARED
