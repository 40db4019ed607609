"""Known people and their reference embeddings in one SQLite file.

:class:`Gallery` has every operation on the file. What loads pyarrow or OpenCV is not imported here: opening a
gallery must stay fast. Module ``enrollment`` goes from folders and catalogs of images to a gallery.
"""

from serving.gallery.checks import UNKNOWN, check_embeddings, check_name
from serving.gallery.conflicts import Conflict, describe
from serving.gallery.connect import check_private
from serving.gallery.gallery import Gallery, Removal, user_name
from serving.gallery.key import KEY_FILE, key_from_environment, write_key
from serving.gallery.people import merge_in, rename_in
from serving.gallery.writing import NewReferences

__all__ = [
    "KEY_FILE",
    "UNKNOWN",
    "Conflict",
    "Gallery",
    "NewReferences",
    "Removal",
    "check_embeddings",
    "check_name",
    "check_private",
    "describe",
    "enrollment",
    "index",
    "key_from_environment",
    "merge_in",
    "rename_in",
    "user_name",
    "write_key",
]
