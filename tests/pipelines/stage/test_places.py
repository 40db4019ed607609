"""The places where stages write are named in one module, as dvc.yaml names them."""

from pathlib import Path

import pytest

from pipelines.stage import places
from tests.literals import texts_in

ROOT = Path(__file__).parents[3]
PLACES = {value.as_posix() for name in places.__all__ if isinstance(value := getattr(places, name), Path)}
# A folder of one word may be anything in another module: what is below it may not.
TOLD_APART = {place for place in PLACES if "/" in place or "." in place} | {places.METRICS_NAME}


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").rglob("*.py")), ids=str)
def test_no_other_module_spells_a_place(path: Path) -> None:
    if path != Path(places.__file__):
        assert not texts_in(path) & TOLD_APART


def test_dvc_yaml_has_every_place() -> None:
    lines = (ROOT / "dvc.yaml").read_text()
    of_no_stage = {place.as_posix() for place in (places.PARAMS, places.JOB_OUTPUT)}
    assert not [place for place in PLACES - of_no_stage if place not in lines]
