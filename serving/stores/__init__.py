"""Files of cameras in stores (S3, Google Cloud Storage, Azure, SFTP, HTTP with ranges), by fsspec: listed,
and read by ranges through a bounded cache; and folders of whole files there, for outputs.
"""

from serving.stores.cluster import FootageServer, address_of, read_from
from serving.stores.files import listed, local_version, version_of
from serving.stores.filesystem import file_system, store_problem
from serving.stores.folder import StoredFolder
from serving.stores.payload import skip_payload
from serving.stores.stored_file import StoredFile

__all__ = [
    "FootageServer",
    "StoredFile",
    "StoredFolder",
    "address_of",
    "file_system",
    "listed",
    "local_version",
    "read_from",
    "skip_payload",
    "store_problem",
    "version_of",
]
