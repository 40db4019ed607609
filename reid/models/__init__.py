"""Networks that turn crops of people into embeddings."""
