"""Readers: each turns a data set on disk into catalog records, to the set's official protocol."""

from reid.data.datasets.folder import read_folder
from reid.data.datasets.market1501 import read_market1501

__all__ = ["read_folder", "read_market1501"]
