"""People made so that what is learnt from them carries over to real cameras: many, in many clothes, lights
and cameras, as crops. Torch-free.

What is real about them is what tells people apart in pictures of a few thousand pixels: the cuts and colours
of clothes, what is only seen from one side, and how much cameras disagree.
"""

from reid.data.synthetic.wardrobe.crops import Crop, render_people, render_person
from reid.data.synthetic.wardrobe.files import PATTERN, write_people
from reid.data.synthetic.wardrobe.spec import INGREDIENTS, LATER, WardrobeSpec

__all__ = [
    "INGREDIENTS",
    "LATER",
    "PATTERN",
    "Crop",
    "WardrobeSpec",
    "render_people",
    "render_person",
    "write_people",
]
