"""Image files to embeddings, in memory or in a Parquet file (module ``table``)."""

from serving.embedding.files import IMAGE_SUFFIXES, FileEmbeddings, Unreadable, embed_files, image_files

__all__ = ["IMAGE_SUFFIXES", "FileEmbeddings", "Unreadable", "embed_files", "image_files", "table"]
