"""Blobs of Azure: adlfs, which waits for a minute and a half before it says that a server does not answer."""

from functools import cache
from typing import Any

__all__ = ["register_azure"]

_WAIT_S, _TRIES = 2, 2


@cache
def register_azure() -> None:
    """Let fsspec open ``az://`` and ``abfs://`` by a driver that is less patient: readers and outputs ask
    again themselves.
    """
    from adlfs import AzureBlobFileSystem
    from azure.storage.blob.aio import BlobServiceClient, LinearRetry
    from fsspec import register_implementation

    class Files(AzureBlobFileSystem):
        def do_connect(self) -> None:
            super().do_connect()
            waits = LinearRetry(backoff=_WAIT_S, retry_total=_TRIES)
            credential = self.credential or self.account_key
            if self.connection_string is not None:
                self.service_client: Any = BlobServiceClient.from_connection_string(
                    self.connection_string, retry_policy=waits
                )
            elif credential is not None:
                self.service_client = BlobServiceClient(
                    self.account_url, credential=credential, retry_policy=waits
                )

    for scheme in ("az", "abfs"):
        register_implementation(scheme, Files, clobber=True)
