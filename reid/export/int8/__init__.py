"""Int8 files that no processor saturates: solved layer by layer on training crops, written as quantise-dequantise pairs."""

from reid.export.int8.file import Int8File
from reid.export.int8.grid import ACTIVATION_LIMIT, WEIGHT_LIMIT

__all__ = ["ACTIVATION_LIMIT", "WEIGHT_LIMIT", "Int8File"]
