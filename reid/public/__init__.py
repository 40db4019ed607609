"""Public models and detectors by name: where they lie, what they are, and how to get them. Torch-free."""

from reid.public.catalogue import PublicFile, PublicModel, public_model, public_models
from reid.public.fetching import Fetched, fetch_model

__all__ = ["Fetched", "PublicFile", "PublicModel", "fetch_model", "public_model", "public_models"]
