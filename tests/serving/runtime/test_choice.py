"""What ``auto`` takes, keeps and refuses."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reid.card import InputSpec, ModelCard, ModelFile
from reid.errors import ReidError
from serving.runtime import Embedder, load
from serving.runtime.choice import choose, machine_facts, memory_path, probes
from tests.serving.tiny_models import HEIGHT, WIDTH, expected, tiny_model

CARD = ModelCard(
    name="t",
    dim=HEIGHT * 3,
    normalised=False,
    input=InputSpec(height=HEIGHT, width=WIDTH),
    files={"fp32": ModelFile(path="m")},
)


class Means:
    """Row means of the images, after a while; ``turned`` adds something else."""

    fixed_batch = None
    at_once = 2
    batch = 16

    def __init__(self, seconds: float, turned: float) -> None:
        self.seconds, self.turned = seconds, turned

    def run(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        rows = batch.astype(np.float32).mean(axis=2).reshape(len(batch), -1)
        rows[:, 0] += self.turned * np.linalg.norm(rows, axis=1)
        return rows


def candidate(
    opened: list[str], name: str, seconds: float = 0.0, turned: float = 0.0, error: str = ""
) -> Callable[[], Embedder]:
    def opener() -> Embedder:
        opened.append(name)
        if error:
            raise ReidError(error)
        return Embedder(Means(seconds, turned), CARD, name, "fp32", name)

    return opener


def test_the_fastest_is_kept_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened: list[str] = []
    candidates = {
        "slow": candidate(opened, "slow", 0.02),
        "quick": candidate(opened, "quick"),
        "lazy": candidate(opened, "lazy", 0.02),
    }
    first = choose(candidates, 0.99, {"a": 1})
    assert first.backend == "quick"
    assert first.chosen.startswith("runtime quick: ")
    assert "slow " in first.chosen
    assert "lazy " in first.chosen
    opened.clear()
    again = choose(candidates, 0.99, {"a": 1})
    assert (opened, again.backend, again.chosen) == (["quick"], "quick", first.chosen)
    choose(candidates, 0.99, {"a": 2})
    assert opened == ["quick", "slow", "quick", "lazy"]


def test_a_fast_one_that_disagrees_is_refused_with_its_cosine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    candidates = {"sure": candidate([], "sure", 0.01), "wrong": candidate([], "wrong", turned=0.3)}
    kept = choose(candidates, 0.99, {})
    assert kept.backend == "sure"
    assert "not wrong: its embeddings have a cosine of 0.9" in kept.chosen
    assert choose(candidates, 0.5, {"less": "strict"}).backend == "wrong"


def test_one_that_does_not_open_is_left_out_and_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = candidate([], "broken", error="m cannot be opened by broken")
    kept = choose({"broken": broken, "sound": candidate([], "sound")}, 0.99, {})
    assert (kept.backend, kept.chosen) == (
        "sound",
        "runtime sound, the only one that can be used; not broken: m cannot be opened by broken",
    )
    with pytest.raises(ReidError, match="opened by broken"):
        choose(
            {"broken": broken, "other": candidate([], "other", error="other reason")},
            0.99,
            {"another": "model"},
        )


@pytest.mark.parametrize("content", ["", "[]", '{"backend": "gone", "line": "x"}', '{"backend": "a"}'])
def test_a_damaged_or_outdated_memory_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = memory_path({})
    path.parent.mkdir()
    path.write_text(content)
    assert choose({"a": candidate([], "a")}, 0.99, {}).backend == "a"
    assert json.loads(path.read_text())["line"].startswith("runtime a")


def test_a_remembered_one_that_opens_no_more_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose({"a": candidate([], "a"), "b": candidate([], "b", 0.02)}, 0.99, {}).backend == "a"
    assert choose({"a": candidate([], "a", error="no GPU"), "b": candidate([], "b")}, 0.99, {}).backend == "b"


def test_where_nothing_can_be_remembered_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reid").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "not remembered, " in choose({"a": candidate([], "a")}, 0.99, {}).chosen


def test_where_float32_is_faster_than_the_precision_asked_for_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def int8(seconds: float) -> Callable[[], Embedder]:
        return lambda: Embedder(Means(seconds, 0.0), CARD, "a", "int8", "a")

    slow = choose({"a": int8(0.02)}, 0.99, {"model": "slow"}, candidate([], "b"))
    assert re.search(
        r"; float32 is faster on this processor, [\d.,]+ images a second in b"
        r" against [\d.,]+: leave int8 out$",
        slow.chosen,
    )
    assert (slow.backend, slow.precision) == ("a", "int8")  # it is said; what was asked for is given
    quick = choose({"a": int8(0.0)}, 0.99, {"model": "quick"}, candidate([], "b", 0.02))
    assert "float32" not in quick.chosen


def test_a_choice_depends_on_file_machine_threads_and_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = machine_facts({"onnxruntime": "onnxruntime", "absent": "no-such-distribution"})
    assert facts["versions"]["onnxruntime"].count(".") >= 2
    assert facts["versions"]["absent"] == "unknown"

    def memories() -> int:
        return len(list(tmp_path.rglob("runtime-*.json")))

    load(tiny_model(tmp_path / "a"))
    load(tiny_model(tmp_path / "same"))
    assert memories() == 1
    load(tmp_path / "a", threads=1)
    load(tiny_model(tmp_path / "b", multiply=-1.0))
    assert memories() == 3
    monkeypatch.setattr("serving.runtime.choice.metadata.version", lambda name: "0")
    load(tmp_path / "a")
    assert memories() == 4


def test_auto_opens_a_model_with_a_present_runtime_and_says_which(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    embedder = load(model)
    assert embedder.backend in ("onnxruntime", "openvino")
    assert embedder.chosen.startswith(f"runtime {embedder.backend}: ")
    assert load(model).backend == embedder.backend
    assert load(model, "onnxruntime").chosen == ""
    images = probes(embedder.card.input)
    np.testing.assert_allclose(embedder(images), expected(images), atol=1e-5)


def test_a_relative_cache_folder_is_ignored_as_xdg_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert memory_path({"model": "a"}).parent == tmp_path / "home" / ".cache" / "reid"
