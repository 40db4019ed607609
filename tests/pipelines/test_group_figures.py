"""Figures by group: of whom, and that they add up; and into a card."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import reid.shipped
from pipelines.group_figures import Embed, group_figures, main, measure
from reid.card import GroupRecord, load_card
from reid.data.synthetic.wardrobe.outfits import draw_outfit
from reid.data.synthetic.wardrobe.spec import WardrobeSpec
from reid.errors import ReidError, UsageError
from tests.serving.tiny_models import with_self_test

PEOPLE = 24


def oracle(known: int) -> Embed:
    """Tells so many people from everybody; all others are alike to it."""

    def embed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        who = np.repeat(np.arange(len(images) // 8), 8)
        rows = np.eye(PEOPLE + 1, dtype=np.float32)
        return rows[np.where(who < known, who, PEOPLE)]

    return embed


@pytest.fixture(scope="module")
def everybody() -> GroupRecord:
    return group_figures(oracle(PEOPLE), PEOPLE)


def test_every_group_is_found_by_who_knows_everybody(everybody: GroupRecord) -> None:
    assert {one.of for one in everybody.groups} == {"people", "skin", "body", "light", "clothes"}
    assert all(one.rank1 == one.mean_ap == 1 for one in everybody.groups)
    assert (everybody.people, everybody.images) == (PEOPLE, 8 * PEOPLE)


def test_the_groups_of_each_kind_are_all_people_once(everybody: GroupRecord) -> None:
    for of in ("skin", "body", "light", "clothes"):
        assert sum(one.queries for one in everybody.groups if one.of == of) == 8 * PEOPLE
    assert [one.group for one in everybody.groups if one.of == "skin"] == ["dark", "medium", "light"]
    assert {one.queries for one in everybody.groups if one.of == "skin"} == {8 * PEOPLE // 3}


def test_who_knows_half_of_the_people_finds_the_groups_in_which_they_are() -> None:
    record = group_figures(oracle(PEOPLE // 2), PEOPLE)
    figures = {(one.of, one.group): one for one in record.groups}
    spec = WardrobeSpec(people=PEOPLE, cameras=48, cameras_per_person=4, images_per_camera=2, seed=4321)
    light = [float(np.dot([0.299, 0.587, 0.114], draw_outfit(spec, n).skin)) for n in range(PEOPLE)]
    darkest = np.argsort(light)[: PEOPLE // 3]
    share = float((darkest < PEOPLE // 2).mean())
    assert figures["skin", "dark"].rank1 == pytest.approx(share, abs=0.35 * (1 - share))
    assert figures["skin", "dark"].rank1 >= share
    assert figures["people", "everybody"].rank1 < 0.8


def test_the_card_of_a_directory_takes_them_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = with_self_test(tmp_path / "model")
    before = load_card(folder)
    record = measure(folder, 6)
    after = load_card(folder)
    assert after.by_group == record and record.people == 6
    assert after.model_copy(update={"by_group": None}) == before
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(ReidError, match=r"is not the file that model\.json describes"):
        measure(folder, 6)


def test_the_card_that_comes_with_the_package_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_self_test(tmp_path / "package" / "rendered")
    before = (folder / "model.json").read_bytes()
    monkeypatch.setattr(reid.shipped, "_FOLDER", folder.parent)
    monkeypatch.chdir(tmp_path)
    for word in ("rendered", str(folder)):
        monkeypatch.setattr("sys.argv", ["group_figures", word])
        with pytest.raises(UsageError, match=r"stays as it is: `reid models fetch rendered` copies it"):
            main()
    assert (folder / "model.json").read_bytes() == before
