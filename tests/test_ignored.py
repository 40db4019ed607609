"""What commands write about people is never staged by ``git add .``: by the project's .gitignore, or by the
folder's own.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def ignored(*names: str) -> set[str]:
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *names], cwd=ROOT, capture_output=True, text=True
    )
    return set(done.stdout.split())


def printed_outputs() -> set[str]:
    """Names that the commands in the documents give to what they write."""
    text = "\n".join(page.read_text() for page in PAGES)
    named = re.findall(r"(?:\s-o|--out|--output) ([A-Za-z][\w./-]*)", text)
    galleries = re.findall(r"reid gallery (?:enroll|key) ([A-Za-z][\w./-]*)", text)
    exports = re.findall(r"reid gallery (?:export|encrypt) [\w./-]+ ([A-Za-z][\w./-]*)", text)
    return {name for name in (*named, *galleries, *exports) if not name.isupper()}


def test_what_the_documents_tell_to_write_is_ignored() -> None:
    names = printed_outputs()
    assert {"people.db", "gallery.key", "found", "embeddings.parquet"} <= names
    # A folder is ignored where a file in it is.
    assert not [name for name in names if not ignored(name, f"{name}/crops/a.jpg")]


@pytest.mark.parametrize(
    "name",
    [
        "people.db-wal",
        ".people-x1.db",
        ".found.work/a/tracklets.parquet",
        "e.parquet.parts/plan.json",
        "my.key",
    ],
)
def test_what_lies_beside_it_meanwhile_is_ignored(name: str) -> None:
    assert ignored(name)


def test_folders_of_any_name_are_ignored(tmp_path: Path) -> None:
    """A job's output, an evaluation and cut crops under names that no pattern knows: staged for real, in a
    repository with our list.
    """
    job = [
        f"monday/{name}"
        for name in (
            "sightings.parquet",
            "strangers.parquet",
            "detections.parquet",
            "job.json",
            "report.html",
            "score.json",
        )
    ]
    job += [
        "monday/crops/hall-00001.jpg",
        "monday/annotated-hall.webm",
        ".monday.work/hall-00000/tracklets.parquet",
    ]
    others = [
        "good/evaluation.html",
        "good/metrics.json",
        "good/queries.parquet",
        "cut/0001_c4_f000030.jpg",
        "rows.parquet.parts/plan.json",
    ]
    for name in (*job, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    staged = subprocess.run(
        ["git", "diff", "--cached", "--name-only"], cwd=tmp_path, capture_output=True, text=True
    ).stdout.split()
    assert staged == [".gitignore"]


def test_nothing_of_the_project_is_ignored() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert tracked
    assert not ignored(*tracked)
