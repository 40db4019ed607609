"""A synthetic town: people with attributes, seen by cameras that disagree about colour, as crops and as
footage with truth. Torch-free.
"""

from reid.data.synthetic.people import (
    Appearance,
    attribute_names,
    changed_clothes,
    look_alike_of,
    sample_person,
)
from reid.data.synthetic.spec import TownSpec
from reid.data.synthetic.town import generate_town

__all__ = [
    "Appearance",
    "TownSpec",
    "attribute_names",
    "changed_clothes",
    "generate_town",
    "look_alike_of",
    "sample_person",
]
