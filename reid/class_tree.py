"""The class tree under its first name, which programs outside this repository import."""

from reid.metric.class_tree import ClassTree

__all__ = ["ClassTree"]
