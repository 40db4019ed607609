import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import evaluate
from pipelines.cli import main
from reid.data.catalog import write_catalog
from reid.evaluation import bootstrap_interval, rank_gallery
from tests.pipelines.striped_people import CAMERAS, PATTERN, PEOPLE, SHOTS, pictures
from tests.serving.tiny_models import HEIGHT, WIDTH, expected, tiny_model

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("evaluate")
    pictures(base / "images")
    tiny_model(base / "model")
    return base


def reid(
    *words: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Run the console script here; returns exit code, output and what it said on standard error."""
    monkeypatch.setattr(sys, "argv", ["reid", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    done = capsys.readouterr()
    return int(caught.value.code or 0), done.out, done.err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    return lambda *words: reid(*words, monkeypatch=monkeypatch, capsys=capsys)


def folder_words(place: Path, query: str = "1", gallery: str = "2,3") -> list[object]:
    cameras = ["--query-cameras", query, "--gallery-cameras", gallery]
    return [
        "evaluate",
        "--model",
        place / "model",
        "--root",
        place / "images",
        "--pattern",
        PATTERN,
        *cameras,
        "--bootstrap",
        50,
    ]


def reference(place: Path, query: str, gallery: str):  # type: ignore[no-untyped-def]
    """The same figures straight from the library, with embeddings computed in NumPy."""
    files = sorted((place / "images").glob("p*.png"))
    images = np.stack([cv2.imread(str(path))[..., ::-1] for path in files])
    embeddings = expected(images).astype(np.float32)
    ids, cams = (np.asarray([path.name.split("_")[part] for path in files]) for part in (0, 1))
    rows, columns = (np.isin(cams, [f"c{one}" for one in side.split(",")]) for side in (query, gallery))
    return rank_gallery(
        embeddings[rows], ids[rows], cams[rows], embeddings[columns], ids[columns], cams[columns]
    ), ids[rows]


@pytest.mark.parametrize(("query", "gallery"), [("1", "2"), ("1,2,3", "1,2,3")])
def test_figures_are_those_of_the_library(place: Path, run, query: str, gallery: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run(*folder_words(place, query, gallery), "--json")
    assert code == 0, err
    found = json.loads(out)
    report, people = reference(place, query, gallery)
    assert 0.2 < report.mean_ap < 0.999, "the case is too easy or too hard to tell anything"
    assert found["ranking"] == pytest.approx(report.summary(), abs=1e-6)
    interval = bootstrap_interval(report, people, samples=50)
    assert [found["intervals"]["mean_ap"][key] for key in ("low", "high")] == pytest.approx(
        [interval.low, interval.high], abs=1e-6
    )
    size = PEOPLE * SHOTS
    assert found["counts"] == {
        "queries": size * len(query.split(",")),
        "query_people": PEOPLE,
        "gallery": size * len(gallery.split(",")),
        "gallery_people": PEOPLE,
        "unreadable": 0,
    }


def test_files_are_written_and_figures_printed(place: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    for _ in range(2):  # a second run replaces the first
        code, text, err = run(*folder_words(place), "--out", out)
        assert code == 0, err
    assert sorted(path.name for path in out.iterdir()) == [
        "evaluation.html",
        "metrics.json",
        "queries.parquet",
    ]
    metrics = json.loads((out / "metrics.json").read_text())
    table = pq.read_table(out / "queries.parquet").to_pylist()
    assert len(table) == PEOPLE * SHOTS
    assert np.mean([row["average_precision"] for row in table]) == pytest.approx(
        metrics["ranking"]["mean_ap"]
    )
    assert np.mean([row["first_rank"] <= 5 for row in table]) == pytest.approx(metrics["ranking"]["rank5"])
    page = (out / "evaluation.html").read_text()
    for words in (f"{100 * metrics['ranking']['mean_ap']:.1f} %", "1 to 2", "16 queries"):
        assert words in page
    assert page.count("data:image/png;base64,") == 8
    assert f"mAP  {100 * metrics['ranking']['mean_ap']:5.1f} %" in text
    assert "16 queries of 8 people (0 skipped" in text
    assert not list(tmp_path.glob(".out*"))


def test_a_catalog_does_as_well(place: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    rows = []
    for path in sorted((place / "images").glob("*.png")):
        identity, camera, _ = path.stem.split("_")
        split = "query" if camera == "c1" else "gallery"
        rows.append(
            {
                "path": str(path),
                "identity": identity,
                "camera": camera[1:],
                "split": split,
                "width": 8,
                "height": 16,
                "sha256": "",
            }
        )
    write_catalog(rows, tmp_path / "catalog.parquet")
    words = [
        "evaluate",
        "--model",
        place / "model",
        "--catalog",
        tmp_path / "catalog.parquet",
        "--bootstrap",
        50,
        "--json",
    ]
    by_catalog, by_folder = (json.loads(run(*line)[1]) for line in (words, [*folder_words(place), "--json"]))
    assert by_catalog["ranking"] == by_folder["ranking"]
    narrowed = json.loads(run(*words, "--gallery-cameras", "2")[1])
    assert narrowed["counts"]["gallery"] == by_catalog["counts"]["gallery"] / 2


def test_a_catalog_of_one_camera_is_judged_within_it(place: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    rows = []
    # Six images a person, now all of camera 1.
    for number, path in enumerate(sorted((place / "images").iterdir())):
        split = "query" if number % 6 == 0 else "gallery"
        row: dict[str, object] = {"path": str(path), "identity": path.name[:3], "camera": "1", "split": split}
        rows.append(row | {"width": WIDTH, "height": HEIGHT, "sha256": "0"})
    write_catalog(rows, tmp_path / "catalog.parquet")
    words = [
        "--catalog",
        tmp_path / "catalog.parquet",
        "--out",
        tmp_path / "out",
        "--bootstrap",
        20,
        "--json",
    ]
    code, out, err = run("evaluate", "--model", place / "model", *words)
    assert code == 0
    assert "figures are within the camera" in err
    metrics = json.loads(out)
    assert metrics["within_camera"] is True
    assert "other_cameras_only" not in metrics and metrics["cameras"] == {}
    assert metrics["ranking"]["valid_queries"] == PEOPLE
    assert metrics["counts"]["gallery"] == PEOPLE * 4, "the image beside each query is left out"
    page = (tmp_path / "out/evaluation.html").read_text()
    assert "neighbours in time left out" in page and "From camera to camera" not in page


def test_names_of_any_encoding_and_names_without_a_match(place: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(place / "images", tmp_path / "images")
    (tmp_path / "images/p00_c1_0.png").rename(tmp_path / "images" / os.fsdecode(b"p00_c1_\xe9.png"))
    (tmp_path / "images/p00_c1_1.png").rename(tmp_path / "images/P00_c1_1.png")
    words = folder_words(place)
    words[words.index("--root") + 1] = tmp_path / "images"
    code, _, err = run(*words, "--out", tmp_path / "out")
    assert code == 0
    assert f"1 of {PEOPLE * CAMERAS * SHOTS} images do not match the pattern, the first: " in err
    names = pq.read_table(tmp_path / "out/queries.parquet")["path"].to_pylist()
    assert str(tmp_path / "images") + "/p00_c1_\\xe9.png" in names


def test_reranking_changes_the_ranking_alone(place: Path, run) -> None:  # type: ignore[no-untyped-def]
    plain, reranked = (
        json.loads(run(*folder_words(place), *more, "--json")[1]) for more in ((), ("--rerank",))
    )
    assert reranked["ranking"]["metric"] == "k-reciprocal"
    assert reranked["ranking"]["mean_ap"] != plain["ranking"]["mean_ap"]
    assert reranked["verification"] == plain["verification"]


@pytest.fixture(scope="module")
def pair(place: Path) -> tuple[Path, Path]:
    """A good and a bad model judged on the same images: the bad one sees but one number a picture."""
    from pipelines.model.evaluation import choose_images, run_evaluation
    from pipelines.model.evaluation_files import write_results

    tiny_model(place / "bad", card={"fingerprint": "tiny-2"}, dim=2)
    images = choose_images(place / "images", PATTERN, None, ["1"], ["2", "3"])
    for name in ("model", "bad"):
        write_results(
            run_evaluation(place / name, images, rerank=False, bootstrap=10, seed=0),
            place / f"out-{name}",
            seed=0,
        )
    return place / "out-bad", place / "out-model"


def test_compare_says_who_is_better(pair: tuple[Path, Path], run) -> None:  # type: ignore[no-untyped-def]
    bad, good = pair
    code, out, err = run("compare", bad, good)
    assert code == 0, err
    verdicts = {line.split()[0]: line for line in out.splitlines()[1:]}
    found = json.loads(run("compare", bad, good, "--json")[1])
    maps = [json.loads((one / "metrics.json").read_text())["ranking"]["mean_ap"] for one in pair]
    assert found["mean_ap"]["value"] == pytest.approx(maps[1] - maps[0])
    for figure, name in (("mean_ap", "mAP"), ("rank1", "rank-1"), ("rank5", "rank-5"), ("mean_inp", "mINP")):
        one = found[figure]
        assert one["people"] == PEOPLE
        assert one["significant"] == (one["low"] > 0 or one["high"] < 0)
        words = (
            "B is better"
            if one["low"] > 0
            else "A is better"
            if one["high"] < 0
            else "no difference that these people could show"
        )
        assert words in verdicts[name]
    same = run("compare", good, good)[1]
    assert same.count("no difference that these people could show") == 4


def test_compare_refuses_other_data(place: Path, pair: tuple[Path, Path], tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    assert run(*folder_words(place, "2", "1,3"), "--out", tmp_path / "other")[0] == 0
    code, out, err = run("compare", pair[0], tmp_path / "other")
    assert (code, out) == (1, "")
    assert "judge different query images" in err and err.count("\n") == 1
    code, _, err = run("compare", pair[0], tmp_path / "nothing")
    assert code == 2 and "does not exist" in err and err.count("\n") == 1


def test_compare_says_how_far_one_model_falls_elsewhere(
    place: Path, pair: tuple[Path, Path], tmp_path: Path, run
) -> None:  # type: ignore[no-untyped-def]
    assert run(*folder_words(place, "2", "1,3"), "--out", tmp_path / "away")[0] == 0
    home = pair[1]
    found = json.loads(run("compare", home, tmp_path / "away", "--shift", "--json")[1])
    maps = [
        json.loads((one / "metrics.json").read_text())["ranking"]["mean_ap"]
        for one in (home, tmp_path / "away")
    ]
    assert found["mean_ap"] == {"a": maps[0], "b": maps[1], "fall": pytest.approx(maps[0] - maps[1])}
    text = run("compare", home, tmp_path / "away", "--shift")[1]
    assert f"{100 * maps[1]:5.1f} % on B" in text
    code, out, err = run("compare", pair[0], tmp_path / "away", "--shift")
    assert (code, out) == (1, "")
    assert "judges model tiny-2" in err and err.count("\n") == 1
    metrics = json.loads((tmp_path / "away/metrics.json").read_text())
    for part, key in (("model", "fingerprint"), ("ranking", "mean_ap"), ("model", None), ("data", None)):
        damaged = json.loads(json.dumps(metrics))
        damaged |= {part: None} if key is None else {part: damaged[part] | {key: None}}
        (tmp_path / "away/metrics.json").write_text(json.dumps(damaged))
        code, out, err = run("compare", home, tmp_path / "away", "--shift")
        assert (code, out) == (1, "")
        assert "does not say what it judged" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"--root": "gone"}, 2, "gone does not exist"),
        ({"--root": None}, 2, "either --root DIR --pattern RE or --catalog FILE"),
        ({"--pattern": None}, 2, "--root needs --pattern"),
        ({"--pattern": "("}, 2, "is not a regular expression"),
        ({"--query-cameras": "1,9"}, 2, "--query-cameras 9: no image is from there; cameras are 1, 2, 3"),
        ({"--query-cameras": ""}, 2, "--query-cameras is empty"),
        ({"--query-cameras": "1", "--gallery-cameras": "1"}, 1, "every image is from camera 1"),
        ({"--model": "gone"}, 2, "model directory gone does not exist"),
    ],
)
def test_bad_calls_are_one_line(
    place: Path, run, change: dict[str, str | None], code: int, words: str
) -> None:  # type: ignore[no-untyped-def]
    line = folder_words(place)
    options = dict(zip(line[1::2], line[2::2], strict=True)) | change
    found, out, err = run(
        "evaluate", *(word for key, value in options.items() if value is not None for word in (key, value))
    )
    assert (found, out) == (code, "")
    assert words in err and err.strip().count("\n") == 0, err


def test_other_files_are_not_written_over(place: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = run(*folder_words(place), "--out", tmp_path)
    assert code == 2 and "holds other things" in err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_broken_images_are_left_out_and_named(place: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    pictures(tmp_path / "images")
    tiny_model(tmp_path / "model")
    (tmp_path / "images" / "p00_c1_0.png").write_bytes(b"no image")
    code, out, err = run(*folder_words(tmp_path), "--json")
    assert code == 0
    assert "p00_c1_0.png" in err
    found = json.loads(out)["counts"]
    assert (found["unreadable"], found["queries"]) == (1, PEOPLE * SHOTS - 1)


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys, pipelines.model.evaluation_files, serving.embedding.files, serving.runtime; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == "False", done.stderr


def test_people_of_one_image_each_have_no_figures_and_it_is_said(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    root = place / "alone"
    root.mkdir()
    for image in sorted((place / "images").glob("*_c1_0.png")):
        shutil.copy(image, root)
    words = ["reid", "evaluate", "--model", str(place / "model"), "--root", str(root), "--pattern", PATTERN]
    words += ["--query-cameras", "1", "--gallery-cameras", "1"]
    reason = (
        "figures are left out: each of 8 people is in one image alone, so nobody can be found by "
        "another image"
    )
    for more, line in (
        ((), reason),
        (("--json", "--out", str(place / "none")), json.dumps({"left_out": reason})),
    ):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        assert capsys.readouterr().out == f"{line}\n"
    assert not (place / "none").exists()


def test_the_stage_leaves_the_figures_of_people_of_one_image_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every file that dvc.yaml names; no model is there, for none is needed."""
    row = {"camera": "1", "split": "query", "width": 1, "height": 1, "sha256": ""}
    write_catalog(
        [row | {"path": f"{n}.png", "identity": str(n)} for n in range(5)], tmp_path / "data/catalog.parquet"
    )
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/selection.json").write_text('{"chosen": "batch_hard"}')
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    monkeypatch.setattr(evaluate, "say", said.append)
    evaluate.main()
    assert said == [
        (
            "figures are left out: each of 5 people is in one image alone, so nobody can be found by "
            "another image"
        )
    ]
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["evaluate"]
    named = [
        *stage["outs"],
        *stage["metrics"],
        *(next(iter(one)) if isinstance(one, dict) else one for one in stage["plots"]),
    ]
    assert len(named) == 6
    assert all(Path(name).exists() for name in named)
    assert said[0] in Path("reports/evaluation/evaluation.html").read_text()
    assert json.loads(Path("reports/evaluation/metrics.json").read_text())["left_out"] == said[0]
