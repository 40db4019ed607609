"""Image files to embeddings, in memory or in a Parquet file (module ``table``)."""

from serving.embedding.files import FileEmbeddings, Unreadable, embed_files

__all__ = ["FileEmbeddings", "Unreadable", "embed_files", "table"]
