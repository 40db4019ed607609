"""The model that comes with the package, on real people and on rendered ones of another seed.

Each camera of PKU-Reid and CUHK03 asks the other; beside it ImageNet's weights as they are, and torchreid's
OSNet x0.25 from MSMT17. Then what the threshold of its card does with real people: each picture of one camera
asks the other's twice, with its own person's pictures among them and without. Then rendered people by group.
Needs the real people of REID_SHARED; nothing is trained on them, or chosen by them.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from _measure import abilities, arguments, report
from _people import CUHK03, OSNET, imagenet, ready
from carry_over import PKU, Thermometer

from reid.card import ModelCard, load_card
from reid.data.synthetic.wardrobe import WardrobeSpec, render_people
from reid.data.synthetic.wardrobe.outfits import draw_outfit
from reid.evaluation import open_set_scores, rank_gallery
from reid.shipped import READY
from serving.runtime import load

Rows = npt.NDArray[np.float32]
Embed = Callable[[npt.NDArray[np.uint8]], Rows]
SEED = 4321  # of rendered people; the model's are 7


def named(embed: Embed, people: Thermometer, card: ModelCard) -> dict[str, float]:
    """Shares of the pictures of one camera, asking the other's: who are named right, and wrong, where their
    own are there; and who are taken for somebody where they are not.
    """
    threshold = card.threshold("min", "image")
    assert threshold is not None
    rows = embed(people.images)
    asks = people.cameras == np.unique(people.cameras)[-1]
    scores = open_set_scores(rows[asks], people.people[asks], rows[~asks], people.people[~asks])
    accepted = scores.genuine <= threshold.distance
    return {
        "known, named right": float((accepted & scores.named_right).mean()),
        "known, named wrong": float((accepted & ~scores.named_right).mean()),
        "unknown, taken for somebody": float((scores.impostor <= threshold.distance).mean()),
    }


def groups(embed: Embed, people: int) -> list[tuple[str, int, float, float]]:
    """Group, queries, rank-1 and mAP of rendered people, each picture asking for the other cameras'."""
    spec = WardrobeSpec(people=people, cameras=48, cameras_per_person=4, images_per_camera=2, seed=SEED)
    images, identities, cameras = render_people(spec)
    rows, names, places = embed(images), identities.astype(str), cameras.astype(str)
    ranking = rank_gallery(rows, names, places, rows, names, places)
    outfits = [draw_outfit(spec, person) for person in range(people)]
    light = images.mean((1, 2, 3))
    grey = np.array([0.299, 0.587, 0.114])
    body = np.array([[grey @ np.asarray(one.skin), one.build] for one in outfits])[identities]
    of = {
        "skin": (body[:, 0], ("dark", "medium", "light")),
        "build": (body[:, 1], ("thin", "medium", "stout")),
        "picture": (light, ("dark", "medium", "light")),
    }
    found: list[tuple[str, int, float, float]] = []

    def add(name: str, chosen: npt.NDArray[np.bool_]) -> None:
        asked = chosen[ranking.query_index]
        if asked.any():
            first, ap = ranking.per_query("rank1")[asked], ranking.per_query_ap[asked]
            found.append((name, int(asked.sum()), float(first.mean()), float(ap.mean())))

    add("everybody", np.ones(len(rows), bool))
    for name, (values, words) in of.items():
        third = np.searchsorted(np.quantile(values, (1 / 3, 2 / 3)), values, side="right")
        for place, word in enumerate(words):
            add(f"{name}: {word}", third == place)
    for kind in sorted({one.lower_kind for one in outfits}):
        add(f"clothes: {kind}", np.array([one.lower_kind == kind for one in outfits])[identities])
    return found


def main() -> None:
    options = arguments(__doc__ or "", cuhk03_people=767, group_people=400)
    card = load_card(READY)
    own = load(READY, "onnxruntime", 1)
    size = card.input.height, card.input.width
    places = {
        "PKU-Reid": Thermometer.real(PKU, *size),
        "CUHK03": Thermometer.real(CUHK03, *size, options.cuhk03_people),
    }
    models = {
        "ImageNet, untrained": imagenet(),
        "OSNet x0.25, MSMT17": ready(OSNET),
        READY: own,
    }
    figures = {
        name: {place: people.figures(embed) for place, people in places.items()}
        for name, embed in models.items()
    }
    ways = ("rank-1 ->", "mAP ->", "rank-1 <-", "mAP <-")
    rows: list[tuple[object, ...]] = [
        (f"{place} {way}", *(figures[name][place][number] for name in models))
        for place in places
        for number, way in enumerate(ways)
    ]
    title = f"Real people, each camera asking the other ({abilities()})"
    report(title, ("", *models), rows, {}, False)
    answers = {place: named(own, people, card) for place, people in places.items()}
    rows = [(place, *one.values()) for place, one in answers.items()]
    report("At the card's threshold for a picture", ("people", *answers["PKU-Reid"]), rows, {}, False)
    by_group = groups(own, options.group_people)
    result = {"abilities": abilities(), "figures": figures, "named": answers, "groups": by_group}
    title = f"{options.group_people} rendered people of another seed"
    report(title, ("group", "queries", "rank-1", "mAP"), by_group, result, options.json)


if __name__ == "__main__":
    main()
