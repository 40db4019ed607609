"""How well a model finds people by what they look like: rendered ones of a seed that no training has.

``python -m pipelines.group_figures DIR`` measures the model of a directory and writes the figures into its
card, as ``pipelines.ship`` does where it makes one. Those of a model that comes with the package are in its
card already, which stays as it is.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.stage.console import run_stage, say
from reid.card import GroupFigure, GroupRecord, check_file, load_card, save_card
from reid.data.synthetic.surface import LUMA
from reid.data.synthetic.wardrobe import WardrobeSpec, render_people
from reid.data.synthetic.wardrobe.outfits import Outfit, draw_outfit
from reid.errors import UsageError
from reid.evaluation import rank_gallery
from reid.shipped import refuse_shipped
from serving.runtime import load

__all__ = ["PEOPLE", "Embed", "group_figures", "measure"]

Embed = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
Flags = npt.NDArray[np.bool_]
PEOPLE = 400
_SEED = 4321  # recipes/rendered.yaml trains on those of seed 7
_DIGITS = 4  # beyond them processors differ
_NAMES = {"slim": "slim trousers", "trousers": "straight trousers", "wide": "wide trousers"}


def group_figures(embed: Embed, people: int = PEOPLE) -> GroupRecord:
    """Rank-1 and mAP of rendered people by skin, body, clothes and light; each of a person's eight pictures,
    in four cameras, asks for those of other cameras among everybody's.

    Args:
        embed: uint8 ``(N, 128, 64, 3)``, RGB, to ``(N, D)`` float32 of norm 1.
        people: how many; thirds of them are dark, medium and light of skin, and thin, medium and stout, and
            thirds of the pictures are dark, medium and light.
    """
    spec = WardrobeSpec(people=people, cameras=48, cameras_per_person=4, images_per_camera=2, seed=_SEED)
    images, identities, cameras = render_people(spec)
    rows, names, places = embed(images), identities.astype(str), cameras.astype(str)
    ranking = rank_gallery(rows, names, places, rows, names, places)
    first, precision = ranking.per_query("rank1"), ranking.per_query_ap
    found = []
    outfits = [draw_outfit(spec, person) for person in range(people)]
    for of, group, chosen in _groups(outfits, identities, images):
        asked = chosen[ranking.query_index]
        if asked.any():
            rank1, mean_ap = (round(float(values[asked].mean()), _DIGITS) for values in (first, precision))
            found.append(
                GroupFigure(of=of, group=group, queries=int(asked.sum()), rank1=rank1, mean_ap=mean_ap)
            )
    return GroupRecord(people=people, images=len(images), seed=_SEED, groups=tuple(found))


def _groups(
    outfits: list[Outfit], identities: npt.NDArray[np.int64], images: npt.NDArray[np.uint8]
) -> Iterator[tuple[str, str, Flags]]:
    """What is grouped, the group, and which of the images are in it."""
    yield "people", "everybody", np.ones(len(images), bool)
    body = np.array([[LUMA @ np.asarray(one.skin), one.build] for one in outfits])[identities]
    thirds = {
        "skin": (body[:, 0], ("dark", "medium", "light")),
        "body": (body[:, 1], ("thin", "medium", "stout")),
        "light": (images.mean((1, 2, 3)), ("dark", "medium", "bright")),
    }
    for of, (values, words) in thirds.items():
        third = np.searchsorted(np.quantile(values, (1 / 3, 2 / 3)), values, side="right")
        for place, word in enumerate(words):
            yield of, word, third == place
    worn = np.array([one.lower_kind for one in outfits])[identities]
    for kind in np.unique(worn).tolist():
        yield "clothes", _NAMES.get(kind, kind), worn == kind


def measure(folder: Path, people: int = PEOPLE) -> GroupRecord:
    """Measure the float32 model of a directory and write its figures into the card.

    Raises:
        UsageError: the directory or its card is missing, or it is a shipped model's.
        ReidError: the model is not the card's, or cannot be opened.
    """
    refuse_shipped(folder)
    card = load_card(folder)
    for file in card.files.values():
        check_file(folder / file.path, file.sha256)
    record = group_figures(load(folder, "onnxruntime", 1), people)
    save_card(card.model_copy(update={"by_group": record}), folder)
    return record


def main() -> None:
    """Measure what the command line names."""
    if len(sys.argv) != 2:
        raise UsageError("say python -m pipelines.group_figures DIR")
    for line in measure(Path(sys.argv[1])).lines():
        say(line)


if __name__ == "__main__":
    run_stage(main)
