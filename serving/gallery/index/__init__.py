"""Searching a gallery: exhaustively, or by a stored compact index."""

__all__ = ["build", "compact"]
