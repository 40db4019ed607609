"""The bucket that tests of stores read from."""

from collections.abc import Iterator

import pytest

from tests.serving.bucket import Bucket, bucket


@pytest.fixture
def footage() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, bucket(patch) as one:
        yield one
