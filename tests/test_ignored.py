"""What commands write about people is never staged by ``git add .``: by the project's .gitignore, or by the folder's own."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from reid.files import keep_out_of_git

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def ignored(*names: str) -> set[str]:
    done = subprocess.run(["git", "check-ignore", "--no-index", *names], cwd=ROOT, capture_output=True, text=True)
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
    "name", ["people.db-wal", ".people-x1.db", ".found.work/a/tracklets.parquet", "e.parquet.parts/plan.json", "my.key"]
)
def test_what_lies_beside_it_meanwhile_is_ignored(name: str) -> None:
    assert ignored(name)


def test_a_folder_of_any_name_keeps_itself_out(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "monday" / "crops").mkdir(parents=True)
    np.zeros(3).tofile(tmp_path / "monday" / "crops" / "a.jpg")
    keep_out_of_git(tmp_path / "monday")
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    assert not subprocess.run(["git", "diff", "--cached", "--name-only"], cwd=tmp_path, capture_output=True, text=True).stdout
