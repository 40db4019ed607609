"""dvc.yaml against the imports of its stages: what a stage runs is what it depends on, and nothing else
starts it again.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipelines", "reid", "serving")
STAGES: dict[str, Any] = {
    name: stage.get("do", stage)
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
# The version, and the refusal to work beside a foreign package of the same name: an upgrade alone trains
# nothing again.
WITHOUT_RESULTS = {Path(package, "__init__.py") for package in PACKAGES}


def file_of(module: str) -> Path | None:
    """The file of a first-party module, below the root; None where there is no such module (a name that is
    imported from one).
    """
    path = Path(*module.split("."))
    for found in (path / "__init__.py", path.with_suffix(".py")):
        if path.parts[0] in PACKAGES and (ROOT / found).exists():
            return found
    return None


def names_of(node: ast.AST, package: str) -> Iterator[str]:
    """Every dotted name that an import may mean."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
        base = ".".join(part for part in (above, node.module) if part)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, those inside functions too, but for what is imported for types alone."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not only_for_types(child):
            yield from nodes(child)


@cache
def imported(path: Path) -> frozenset[Path]:
    """Files that a file imports; a module's packages are imported with it."""
    found = set()
    package = ".".join(path.parent.parts)
    for node in nodes(ast.parse((ROOT / path).read_text())):
        for name in names_of(node, package):
            parts = name.split(".")
            found |= {file_of(".".join(parts[:count])) for count in range(1, len(parts) + 1)}
    return frozenset(one for one in found if one is not None)


@cache
def data_files() -> frozenset[Path]:
    """Files of the packages that are no modules, such as pages. Not those of the model that comes along: the
    model of a stage, whose files are called the same, is an output of another and stands in dvc.yaml.
    """
    found = (
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not path.is_relative_to(ROOT / "reid" / "shipped" / "rendered")
    )
    return frozenset(
        path for path in found if "__pycache__" not in path.parts and path.suffix not in (".py", ".pyc")
    )


@cache
def texts(path: Path) -> frozenset[str]:
    """Last parts of all strings in a file."""
    constants = (
        node.value
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.Constant)
    )
    return frozenset(value.rpartition("/")[2] for value in constants if isinstance(value, str))


def needed(start: Path) -> set[Path]:
    """What runs when ``start`` does, with the data files that are named in it."""
    seen: set[Path] = set()
    todo = [start]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += imported(path)
    named = frozenset().union(*(texts(path) for path in seen))
    pages = {page for page in data_files() if page.name in named}
    return {path for path in seen | pages if (ROOT / path).stat().st_size} - WITHOUT_RESULTS


def module_of(stage: str) -> Path:
    return Path(*STAGES[stage]["cmd"].split()[2].split(".")).with_suffix(".py")


def code(stage: str) -> list[Path]:
    return [Path(one) for one in STAGES[stage]["deps"] if Path(one).parts[0] in PACKAGES]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_everything_that_it_imports(stage: str) -> None:
    forgotten = [
        str(path)
        for path in sorted(needed(module_of(stage)))
        if not any(path.is_relative_to(dep) for dep in code(stage))
    ]
    assert not forgotten, f"add to the deps of {stage} in dvc.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_nothing_that_it_does_not_import(stage: str) -> None:
    wanted = needed(module_of(stage))
    assert not [str(dep) for dep in code(stage) if not any(path.is_relative_to(dep) for path in wanted)]
    assert all((ROOT / dep).exists() for dep in code(stage))


def test_the_walk_sees_what_is_imported_inside_functions_and_through_others() -> None:
    train = {str(path) for path in needed(Path("pipelines/train.py"))}
    assert {
        "reid/data/transforms.py",
        "reid/data/sampling.py",
        "reid/images.py",
        "reid/models/embedder.py",
    } <= train
    assert "reid/evaluation/templates/evaluation.html" in train
    assert "serving/job/templates/page.html" in {str(path) for path in needed(Path("pipelines/match.py"))}


@pytest.mark.parametrize("foreign", ["serving", "reid/export", "reid/data/datasets", "reid/data/synthetic"])
def test_a_change_in_a_room_that_training_does_not_enter_trains_nothing(foreign: str) -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / foreign).rglob("*.py")]
    assert files
    assert not [path for path in files for dep in code("train") if path.is_relative_to(dep)]
