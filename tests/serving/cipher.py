"""Tests of encrypted galleries need an optional package."""

from importlib.util import find_spec

import pytest

needs_cipher = pytest.mark.skipif(
    find_spec("sqlcipher3") is None, reason="the optional package sqlcipher3 is not installed"
)
