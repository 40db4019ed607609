"""Known people and their reference embeddings in one SQLite file.

Modules that load pyarrow or OpenCV are not imported here: opening a gallery must stay fast.
"""

from serving.gallery.checks import UNKNOWN, check_embeddings, check_name
from serving.gallery.connect import check_private
from serving.gallery.gallery import Gallery, Removal, user_name
from serving.gallery.key import KEY_FILE, key_from_environment, write_key

__all__ = [
    "KEY_FILE",
    "UNKNOWN",
    "Gallery",
    "Removal",
    "check_embeddings",
    "check_name",
    "check_private",
    "conflicts",
    "enrollment",
    "index",
    "key_from_environment",
    "models",
    "transfer",
    "user_name",
    "write_key",
]
