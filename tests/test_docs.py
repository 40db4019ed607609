"""The reference pages are those of the models, and say something about every command, option and key."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from typer.main import get_command

from pipelines.cli import app
from reid.config import Params
from reid.losses import LOSSES
from serving.spec import Job

ROOT = Path(__file__).parents[1]
PAGES = ("commands.md", "params.md", "job.md")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text()


def rows(name: str) -> dict[str, list[str]]:
    """Cells after the first of each row of a page's tables, by the first cell; of the same first cell the
    last.
    """
    lines = (re.split(r"(?<!\\)\|", line)[1:-1] for line in page(name).splitlines() if line.startswith("| `"))
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_models_say(reference: ModuleType, name: str) -> None:
    assert page(name) == reference.pages()[name], "run python docs/reference.py"


def test_every_command_has_its_options_with_a_meaning(reference: ModuleType) -> None:
    sections = {part.partition("\n")[0]: part for part in page("commands.md").split("\n## ")[1:]}
    found = list(reference.commands(get_command(app)))
    assert len(found) > 30
    assert [name for name, _ in found] == list(sections)
    for name, command in found:
        for one in command.params:
            if one.param_type_name == "option" and "--help" not in one.opts:
                assert all(f"`{opt}`" in sections[name] for opt in one.opts), (name, one.opts)
        silent = [
            line for line in sections[name].splitlines() if line.startswith("|") and line.endswith("|  |")
        ]
        assert not silent, f"{name}: give these a help text"


def dotted(value: dict[str, object], prefix: str = "") -> set[str]:
    """The dotted keys of nested mappings; the name of an objective or of a term is NAME."""
    keys = set()
    for name, inner in value.items():
        named = prefix in ("objectives.", "pretrain.") or prefix.endswith(".terms.")
        key = f"{prefix}NAME" if named else prefix + name
        keys |= set() if named else {key}
        if isinstance(inner, dict) and not key.endswith((".options", ".space", ".parity")):
            keys |= dotted(inner, key + ".")
    return keys


def test_every_key_of_params_yaml_has_a_row_with_a_meaning() -> None:
    documented = rows("params.md")
    keys = dotted(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert len(keys) > 100 and keys <= {key.strip("`") for key in documented}
    assert set(Params.model_fields) <= keys
    assert not [key for key, cells in documented.items() if not cells[-1]], (
        "put a comment beside these in params.yaml"
    )


def test_every_key_of_job_yaml_has_a_row_with_a_meaning() -> None:
    documented = rows("job.md")
    schema = Job.model_json_schema()  # what pydantic itself says the keys are
    keys = {key for model in (schema, *schema["$defs"].values()) for key in model["properties"]}
    assert len(keys) > 40 and keys == {re.split(r"[.`]", key.strip("`"))[-1] for key in documented}
    assert not [key for key, cells in documented.items() if not cells[-1]], (
        "put a comment beside these in serving/spec/models.py"
    )


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "build_loss" in (tmp_path / "site" / "api" / "losses" / "index.html").read_text()


def test_every_loss_has_its_place_on_the_page_of_losses() -> None:
    shown = set(re.findall(r"^::: (\S+)$", (ROOT / "docs/api/losses.md").read_text(), re.MULTILINE))
    assert {loss.__module__ for loss in LOSSES.values()} <= shown
