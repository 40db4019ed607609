"""Distances, mining and the class tree: what losses, models and samplers are made of. Knows none of them."""
