"""Int8 files that no processor saturates: solved layer by layer on training crops, written as
quantise-dequantise pairs.
"""

from reid.export.int8.file import Int8File
from reid.export.int8.grid import WEIGHT_LIMIT
from reid.export.int8.signed import signed

__all__ = ["WEIGHT_LIMIT", "Int8File", "signed"]
