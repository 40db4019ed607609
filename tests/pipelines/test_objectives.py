"""The stages of dvc.yaml follow the objectives that params.yaml names, whatever they are called."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from pipelines import train
from reid.config import load_params
from reid.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    value = yaml.safe_load((ROOT / "params.yaml").read_text())
    value["objectives"] = yaml.safe_load((ROOT / "recipes/objectives.yaml").read_text())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(value))
    return tmp_path


def test_every_objective_is_a_stage_that_waits_for_its_start(folder: Path) -> None:
    names = yaml.safe_load((ROOT / "recipes/objectives.yaml").read_text())
    repo = Repo.init(str(folder), no_scm=True)
    stages = {stage.addressing: stage for stage in repo.index.stages}
    trained = {name.removeprefix("train@") for name in stages if name.startswith("train@")}
    assert trained == set(names)
    graph = repo.index.graph

    def awaited(name: str) -> set[str]:
        return {stage.addressing for stage in graph.successors(stages[name])}

    assert awaited("train@facenet") == {"prepare", "untrained"}
    assert awaited("train@tree_margins") == {"prepare", "train@strong_baseline"}
    assert not [name for name in stages if name.startswith("pretrain")]
    for stage in ("select", "evaluate"):
        assert {name.removeprefix("train@") for name in awaited(stage) if "@" in name} == trained


def test_the_file_for_real_people_is_a_chain_of_its_three_objectives(folder: Path) -> None:
    shutil.copy(ROOT / "recipes/cuhk03.yaml", folder / "params.yaml")
    repo = Repo.init(str(folder), no_scm=True)
    stages = {stage.addressing: stage for stage in repo.index.stages}
    trained = {f"train@{name}" for name in ("batch_hard", "quadruplet", "hierarchical")}
    assert {name for name in stages if name.startswith(("train", "pretrain"))} == trained
    awaited = {
        name: {stage.addressing for stage in repo.index.graph.successors(stages[name])} for name in stages
    }
    assert all(awaited[name] == {"prepare", "untrained"} for name in trained)
    assert trained <= awaited["select"]
    assert set(stages) >= {"prepare", "metric", "evaluate", "calibrate", "export", "enroll", "match"}


def test_a_pre_training_is_a_stage_that_the_objectives_from_it_wait_for(folder: Path) -> None:
    value = yaml.safe_load((ROOT / "params.yaml").read_text())
    value["pretrain"] = yaml.safe_load((ROOT / "recipes/pretrain.yaml").read_text())
    value["pretrain"]["moco"]["images"] = "crops"
    value["objectives"]["batch_hard"]["start"] = "simclr"
    (folder / "params.yaml").write_text(yaml.safe_dump(value))
    load_params(folder / "params.yaml")
    repo = Repo.init(str(folder), no_scm=True)
    stages = {stage.addressing: stage for stage in repo.index.stages}
    graph = repo.index.graph

    def awaited(name: str) -> set[str]:
        return {stage.addressing for stage in graph.successors(stages[name])}

    assert awaited("train@batch_hard") == {"prepare", "pretrain@simclr"}
    assert awaited("pretrain@simclr") == {"prepare"}
    assert awaited("pretrain@moco") == set()


@pytest.mark.parametrize("name", ["facnet", ""])
def test_an_objective_that_is_not_there_is_named_with_those_that_are(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["train", name])
    with pytest.raises(UsageError, match=f"objective is '{name}': add it .*, or take .*facenet") as caught:
        train.main()
    assert "\n" not in str(caught.value)
