"""The tiny people and parameters that trainings are tested with."""

from tests.reid.training.conftest import tiny_catalog, tiny_params

__all__ = ["tiny_catalog", "tiny_params"]
