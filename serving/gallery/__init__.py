"""Known people and their reference embeddings in one SQLite file.

:class:`Gallery` has every operation on the file. What loads pyarrow or OpenCV is not imported here: opening a
gallery must stay fast. ``samples`` finds images of people, ``enrollment`` enrolls them.
"""

from serving.gallery.checks import UNKNOWN, check_name
from serving.gallery.conflicts import Conflict, describe
from serving.gallery.database.connect import check_private
from serving.gallery.database.references import NewReferences
from serving.gallery.file import user_name
from serving.gallery.gallery import Gallery, Removal
from serving.gallery.index.compact import CompactIndex
from serving.gallery.key import KEY_FILE, key_from_environment, write_key
from serving.gallery.people import merge_in, rename_in

__all__ = [
    "KEY_FILE",
    "UNKNOWN",
    "CompactIndex",
    "Conflict",
    "Gallery",
    "NewReferences",
    "Removal",
    "check_name",
    "check_private",
    "describe",
    "enrollment",
    "index",
    "key_from_environment",
    "merge_in",
    "rename_in",
    "samples",
    "user_name",
    "write_key",
]
