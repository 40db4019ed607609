"""The model that comes with the package, on real people and on rendered ones of another seed.

Each camera of PKU-Reid and CUHK03 asks the other; beside it ImageNet's weights as they are, and torchreid's
OSNet x0.25 from MSMT17. Then what the threshold of its card does with real people: each picture of one camera
asks the other's twice, with its own person's pictures among them and without. Then rendered people by group,
as in its card.
Needs the real people of REID_SHARED; nothing is trained on them, or chosen by them.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from _measure import abilities, arguments, report
from _people import CUHK03, OSNET, imagenet, ready
from carry_over import PKU, Thermometer

from pipelines.group_figures import PEOPLE, group_figures
from reid.card import ModelCard, load_card
from reid.evaluation import open_set_scores
from reid.shipped import READY
from serving.runtime import load

Rows = npt.NDArray[np.float32]
Embed = Callable[[npt.NDArray[np.uint8]], Rows]


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


def main() -> None:
    options = arguments(__doc__ or "", cuhk03_people=767, group_people=PEOPLE)
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
    by_group = [
        (f"{one.of}: {one.group}", one.queries, one.rank1, one.mean_ap)
        for one in group_figures(own, options.group_people).groups
    ]
    result = {"abilities": abilities(), "figures": figures, "named": answers, "groups": by_group}
    title = f"{options.group_people} rendered people of another seed"
    report(title, ("group", "queries", "rank-1", "mAP"), by_group, result, options.json)


if __name__ == "__main__":
    main()
