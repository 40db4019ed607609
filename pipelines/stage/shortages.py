"""What the stages after ``prepare`` will find too little of, said before the long work and with the keys that
change it.
"""

import math

from reid.config import Params
from reid.data.catalog import Catalog
from reid.data.synthetic.wardrobe import LATER
from reid.evaluation.within_camera import WITHIN_CAMERA, seen_by_two, views

__all__ = ["dropped_ingredients", "impostor_probes", "shortages"]


def dropped_ingredients(params: Params) -> list[str]:
    """A line where ``synthetic`` asks for what only the other of the two renderers draws."""
    asked = [f"synthetic.{name}" for name in LATER if getattr(params.synthetic, name)]
    if params.data.source != "synthetic" or not asked:
        return []
    return [f"{', '.join(asked)}: data.source synthetic does not draw that, data.source wardrobe does"]


def impostor_probes(validation: Catalog) -> tuple[int, int]:
    """How many images, and how many tracklets, of validation people meet another person in another camera:
    what ``calibrate`` counts.
    """
    if not len(validation):
        return 0, 0
    ranked = views(validation.identities, validation.cameras, validation.order)
    identities = validation.identities[ranked.rows].tolist()
    cameras = ranked.cameras.tolist()
    elsewhere = {
        camera: {one for one, seen in zip(identities, cameras, strict=True) if seen != camera}
        for camera in set(cameras)
    }
    probes = [pair for pair in zip(identities, cameras, strict=True) if elsewhere[pair[1]] - {pair[0]}]
    return len(probes), len(set(probes))


def shortages(params: Params, catalog: Catalog) -> list[str]:
    """A line for each thing that will be too little; none where all is enough."""
    lines = dropped_ingredients(params)
    judged = catalog.split("query", "gallery")
    if len(judged) and not seen_by_two(judged.identities, judged.cameras):
        lines.append(f"{WITHIN_CAMERA}; what needs two cameras is left out")
    validation, training = catalog.split("val"), catalog.split("train")
    held, people = len(set(validation.identities)), len(set(training.identities))
    if people < 2:
        lines.append(
            f"{people} people are left to train on, and training needs 2: lower data.test_share or "
            "data.validation_share"
        )
    rate = params.calibrate.false_accept_rate
    wanted, (images, tracklets) = math.ceil(1 / rate), impostor_probes(validation)
    if tracklets == 0:
        lines.append(
            f"{held} validation people give nothing to choose a model by or to calibrate on: raise "
            "data.validation_share"
        )
    elif tracklets < wanted:
        share = min(0.5, params.data.validation_share * wanted / tracklets)
        lines.append(
            f"{held} validation people in {tracklets} tracklets ({images} images) are few: "
            f"calibrate.false_accept_rate {rate:g} wants "
            f"{wanted}, so the thresholds of tracklets will be for "
            f"{math.ceil(1000 / tracklets) / 1000:g}; raise data.validation_share "
            f"(to {share:.2g}, say) or calibrate.false_accept_rate"
        )
    return lines
