"""What tests share: where the real data lies, and one torch thread setting."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_SHARED = Path(os.environ.get("REID_SHARED", Path(__file__).parents[2] / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real people, footage and models; a test that needs it is skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(f"no real data at {_SHARED}: set REID_SHARED")
    return _SHARED


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where runtimes are remembered, for these tests alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder
