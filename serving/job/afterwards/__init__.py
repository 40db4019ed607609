"""What is done with finished jobs: people looked for, named, named anew and erased."""

__all__ = ["erasure", "promotion", "rematch", "route", "search"]
