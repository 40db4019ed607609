"""The stage ``enroll``: it makes its gallery anew, and removes nothing that it did not make."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pipelines import enroll
from reid.data.catalog import write_catalog
from reid.errors import ReidError
from reid.files import sha256_of, write_json
from serving.gallery import Gallery
from tests.serving.rows import unit_rows
from tests.serving.tiny_models import DIM, tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the stage can run: four rendered people, two of whom it enrols, and an exported
    model.
    """
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["enroll"] |= {"known_share": 0.5}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    rng, rows = np.random.default_rng(0), []
    for person in ("0001", "0002", "0003", "0004"):
        for camera in ("1", "2"):
            path = tmp_path / "data" / "crops" / f"{person}_c{camera}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 255, (16, 8, 3), np.uint8))
            split = "query" if camera == "1" else "gallery"
            facts = {"path": f"crops/{path.name}", "identity": person, "camera": camera, "split": split}
            rows.append(facts | {"width": 8, "height": 16, "sha256": sha256_of(path)})
    write_catalog(rows, tmp_path / "data" / "catalog.parquet")
    write_json(tmp_path / "data" / "town.json", {"footage_identities": [1, 2, 3, 4]})
    tiny_model(tmp_path / "exported")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path: Path) -> dict[str, int]:
    with Gallery.open(path, None, create=False) as gallery:
        return {person.identity: person.references for person in gallery.people()}


def promote(path: Path, identity: str) -> None:
    with Gallery.open(path, "tiny-1", create=False, who="somebody") as gallery:
        gallery.enroll(identity, unit_rows(3, DIM, seed=7), source=["a.jpg", "b.jpg", "c.jpg"])


def test_its_own_gallery_is_made_anew(project: Path) -> None:
    enroll.main()
    first = names(enroll.GALLERY)
    assert len(first) == 2
    assert set(first.values()) == {2}
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["enroll"] |= {"known_share": 0.25}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    enroll.main()
    assert len(names(enroll.GALLERY)) == 1
    assert enroll.GALLERY.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in enroll.GALLERY.parent.iterdir()] == ["gallery.db"]


def test_sources_can_be_embedded_anew(project: Path) -> None:
    enroll.main()
    with Gallery.open(enroll.GALLERY, None, create=False) as gallery:
        sources = [one.source for person in gallery.people() for one in gallery.show(person.identity)]
    assert all(Path(source).is_file() for source in sources)


def test_other_galleries_and_promoted_people_survive(project: Path) -> None:
    enroll.main()
    mine = set(names(enroll.GALLERY))
    other = enroll.GALLERY.with_name("guests.db")
    with Gallery.open(other, "tiny-1", DIM, create=True, who="somebody") as gallery:
        gallery.enroll("Guest", unit_rows(1, DIM))
    promote(enroll.GALLERY, "Anna")
    enroll.main()
    enroll.main()
    assert names(other) == {"Guest": 1}
    assert names(enroll.GALLERY) == {"Anna": 3, **dict.fromkeys(mine, 2)}


def test_a_person_whom_somebody_removed_comes_back_and_nobody_else_leaves(project: Path) -> None:
    enroll.main()
    mine = sorted(names(enroll.GALLERY))
    with Gallery.open(enroll.GALLERY, None, create=False, who="somebody") as gallery:
        gallery.rename(mine[0], "Bert")
    enroll.main()
    assert names(enroll.GALLERY) == {"Bert": 2, **dict.fromkeys(mine, 2)}


def test_another_model_is_refused_where_people_were_promoted(project: Path) -> None:
    enroll.main()
    promote(enroll.GALLERY, "Anna")
    before = sha256_of(enroll.GALLERY)
    shutil.rmtree("exported")
    tiny_model(Path("exported"), card={"fingerprint": "tiny-2"})
    with pytest.raises(ReidError, match=r"gallery.db was changed by somebody .*reid gallery reembed"):
        enroll.main()
    assert sha256_of(enroll.GALLERY) == before


def test_another_model_makes_the_stages_own_gallery_anew(project: Path) -> None:
    enroll.main()
    shutil.rmtree("exported")
    tiny_model(Path("exported"), card={"fingerprint": "tiny-2"})
    enroll.main()
    with Gallery.open(enroll.GALLERY, None, create=False) as gallery:
        assert gallery.fingerprint == "tiny-2"


def test_dvc_does_not_remove_the_gallery_before_the_stage(project: Path) -> None:
    """By DVC itself: what it does before a stage is in no code of ours."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stage = stages["enroll"] | {"deps": ["data/catalog.parquet"]}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"enroll": stage}}))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    run("dvc", "repro")
    promote(enroll.GALLERY, "Anna")
    run("dvc", "repro")
    assert names(enroll.GALLERY)["Anna"] == 3
    run("dvc", "repro", "--force")
    assert names(enroll.GALLERY)["Anna"] == 3


def test_distractors_are_nobody_to_know(project: Path) -> None:
    (project / "data" / "town.json").unlink()
    rows = enroll.read_catalog("data/catalog.parquet").table.to_pylist()
    write_catalog(
        [row | {"identity": "0000"} if row["identity"] == "0003" else row for row in rows],
        project / "data" / "catalog.parquet",
    )
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["enroll"] |= {"known_share": 1.0}
    params["data"] |= {"source": "folder"}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    enroll.main()
    assert names(enroll.GALLERY) == {"0001": 2, "0002": 2, "0004": 2}
