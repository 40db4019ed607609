"""The arrows between the packages, what an import may load, and where tests stand."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in ("reid", "serving", "pipelines")}
ROOMS = (
    *(
        "addresses",
        "cache",
        "card",
        "config",
        "data.catalog",
        "data.datasets.files",
        "data.labelled",
        "embeddings",
        "engine_stamp",
        "errors",
        "evaluation",
        "files",
        "memory",
    ),
    *(
        "images",
        "linear_metric",
        "model_files",
        "mot",
        "pace",
        "pages",
        "parity",
        "parquet",
        "processors",
        "text_files",
        "self_test",
        "shipped",
        "sockets",
        "system_errors",
        "video_files",
    ),
)
TORCH_FREE = tuple(f"reid.{room}" for room in ROOMS)
# serving from the bottom up: who stands in a line may import what stands in lines above it, and no other.
STOREYS: tuple[tuple[str, ...], ...] = (
    ("concurrency", "natural_order", "overlap", "protocols", "watchdog"),
    ("stores",),
    ("spec",),
    ("runtime", "video"),
    ("detection", "embedding", "tracking"),
    ("gallery",),
    ("matching",),
    ("job.progress", "job.record", "job.encryption"),
    ("job.layout",),
    ("job.segments",),
    ("job.sightings",),
    ("job",),
    ("job.afterwards", "job.dashboard"),
    ("display", "worker"),
    ("scoring",),
    ("cli",),
)
STOREY = {room: height for height, rooms in enumerate(STOREYS) for room in rooms}
MOST_FILES = 14
HEAVY = {"torch", "torchvision", "torchreid", "ray", "mlflow", "dvc"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_there_is_something_to_check() -> None:
    assert all(len(files) > 3 for files in FILES.values())


@pytest.mark.parametrize("path", FILES["reid"], ids=str)
def test_reid_knows_neither_serving_nor_pipelines(path: Path) -> None:
    assert not [name for name in imported(path) if within(name, "serving", "pipelines")]


@pytest.mark.parametrize("path", sorted((ROOT / "reid" / "metric").glob("*.py")), ids=str)
def test_metric_is_below_what_is_made_of_it(path: Path) -> None:
    above = [f"reid.{room}" for room in ("losses", "models", "data", "evaluation", "training", "export")]
    assert not [name for name in imported(path) if within(name, *above)]


def test_the_class_tree_is_where_programs_outside_look_for_it() -> None:
    import reid.class_tree
    import reid.metric.class_tree

    assert reid.class_tree.ClassTree is reid.metric.class_tree.ClassTree


def test_the_job_is_where_programs_outside_look_for_it() -> None:
    import serving.job.run
    import serving.worker

    assert serving.worker.run_job is serving.job.run.run_job


@pytest.mark.parametrize("path", FILES["serving"], ids=str)
def test_serving_calls_only_torch_free_rooms(path: Path) -> None:
    names = imported(path)
    assert not [name for name in names if within(name, "pipelines")]
    assert not [name for name in names if within(name, "reid") and not within(name, *TORCH_FREE)]
    assert not {name.split(".")[0] for name in names} & (HEAVY - {"ray"})


@pytest.mark.parametrize("module", ["reid", "pipelines.cli", "serving", *TORCH_FREE])
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_training_loads_no_library_of_what_it_does_not_do() -> None:
    """Objectives of pytorch-metric-learning, groups of people by scikit-learn: with scipy.stats they are a
    third of what a trial imports.
    """
    late = {"pytorch_metric_learning", "sklearn", "scipy.stats"}
    code = f"import sys, reid.training.trial; print(sorted({late!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for paths in FILES.values() for path in paths}
IN_ROOMS = [path for path in FILES["serving"] if path != ROOT / "serving" / "__init__.py"]
USERS = [*IN_ROOMS, *FILES["pipelines"], *sorted((ROOT / "benchmarks").glob("*.py"))]


def serving_imports(path: Path) -> set[tuple[str, str]]:
    """(module, name) of all that a file takes from serving, at its top, in functions and for types; the name
    is "" for a whole module.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if within(alias.name, "serving")}
        elif isinstance(node, ast.ImportFrom) and within(node.module or "", "serving"):
            for name in (alias.name for alias in node.names):
                whole = f"{node.module}.{name}" in MODULES
                found.add((f"{node.module}.{name}", "") if whole else (str(node.module), name))
    return found


def room_of(module: str) -> str:
    """The most inner room that a module of serving is in: ``serving.job.layout`` is in ``job.layout``,
    ``serving.job.run`` in ``job``.
    """
    inside = [room for room in STOREY if within(module, f"serving.{room}")]
    assert inside, f"{module} is in no room: add it to STOREYS"
    return max(inside, key=len)


def named_by(module: str) -> set[str]:
    """``__all__`` of a module."""
    for node in ast.parse(MODULES[module].read_text()).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "__all__"
        ):
            return set(ast.literal_eval(node.value))
    return set()


def at_the_door(module: str, name: str) -> bool:
    """Whether each package on the way to a module names the next, and the module the name."""
    parts = module.split(".")
    steps = [(".".join(parts[:depth]), parts[depth]) for depth in range(2, len(parts))]
    return all(step in named_by(package) for package, step in steps) and (
        not name or name in named_by(module)
    )


@pytest.mark.parametrize("path", IN_ROOMS, ids=str)
def test_rooms_of_serving_import_only_what_is_below(path: Path) -> None:
    own = room_of(module_of(path))
    others = {room_of(module) for module, _ in serving_imports(path)} - {own}
    assert not {room for room in others if STOREY[room] >= STOREY[own]}, (
        f"{own} stands at or below them: see STOREYS"
    )


@pytest.mark.parametrize("path", USERS, ids=str)
def test_a_package_of_serving_is_entered_by_its_door(path: Path) -> None:
    own = module_of(path).split(".")[:2] if within(module_of(path), "serving") else None
    foreign = {(module, name) for module, name in serving_imports(path) if module.split(".")[:2] != own}
    assert not {entry for entry in foreign if not at_the_door(*entry)}, (
        "add it to __all__ of the package, or do without"
    )


def test_no_module_of_serving_is_on_both_ends_of_a_way() -> None:
    """No circle, neither of modules. Imports for types are no arrows; a package's own door is none for what
    is inside it.
    """
    arrows = {
        name: {to for to in run_time_imports(path) if not within(name, to)}
        for name, path in MODULES.items()
        if within(name, "serving")
    }
    while free := {name for name, targets in arrows.items() if not targets & arrows.keys()}:
        arrows = {name: targets for name, targets in arrows.items() if name not in free}
    assert not arrows, "these import each other"


def run_time_imports(path: Path) -> set[str]:
    for_types = {
        inner
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in (
            alias.name for child in node.body if isinstance(child, ast.ImportFrom) for alias in child.names
        )
    }
    return {module for module, name in serving_imports(path) if name not in for_types}


def door_of(path: Path) -> set[str] | None:
    """The names of a module's ``__all__``; None where it has none."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and "__all__" in map(ast.unparse, node.targets):
            return set(ast.literal_eval(node.value))
    return None


@cache
def doors() -> dict[str, set[str] | None]:
    return {module_of(path): door_of(path) for files in FILES.values() for path in files}


@pytest.mark.parametrize("path", [path for files in FILES.values() for path in files], ids=str)
def test_nobody_takes_from_a_module_what_its_door_does_not_name(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        door = doors().get(node.module or "") if isinstance(node, ast.ImportFrom) else None
        if door is not None:
            taken = {alias.name for alias in node.names if f"{node.module}.{alias.name}" not in doors()}
            assert taken <= door | {"__version__"}, f"{node.module} does not name these in its __all__"


# `pipelines` itself holds the stages of dvc.yaml, each a file that `python -m` runs.
FOLDERS = {path.parent for package in ("serving", "pipelines") for path in FILES[package]}


@pytest.mark.parametrize("folder", sorted(FOLDERS - {ROOT / "pipelines"}), ids=str)
def test_a_folder_can_be_seen_at_once(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MOST_FILES


# From the bottom up, as STOREYS: what stages are made of, what the commands do, the stages, the commands.
PIPELINES = {"stage": 0, "pages": 1, "model": 1, "commands": 3, "cli": 4}
A_STAGE = 2


@pytest.mark.parametrize("path", FILES["pipelines"], ids=str)
def test_pipelines_import_downwards(path: Path) -> None:
    def height(module: str) -> int:
        return PIPELINES.get(module.split(".")[1], A_STAGE)

    own = module_of(path)
    if own == "pipelines":
        return
    below = [name for name in imported(path) if within(name, "pipelines") and name != "pipelines"]
    assert not [name for name in below if height(name) > height(own)]
    # those of one height that are folders do not know each other
    beside = [name for name in below if height(name) == height(own) != A_STAGE]
    assert not [name for name in beside if name.split(".")[1] != own.split(".")[1]]


TESTS = sorted((ROOT / "tests").rglob("*.py"))
OF_A_TEST = re.compile(
    r"^\s*(?:from|import)\s+(?:tests\S*\.)?test_\w+|^\s*from\s+tests\S*\s+import\b.*\btest_\w+", re.M
)


def test_no_test_imports_a_test_module() -> None:
    """What several tests use stands in conftest.py or in a module beside them. Programs in strings count."""
    name = "test_run"
    for line in (f"    from tests.job.{name} import clip", f"import {name}", f"from tests import {name}"):
        assert OF_A_TEST.search(line)
    assert not OF_A_TEST.search("from tests.rows import latest_row")
    assert not [str(path) for path in TESTS if OF_A_TEST.search(path.read_text())]


def test_a_folder_of_tests_has_the_name_of_a_package() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in TESTS if path.name.startswith("test_")}
    packages = {path.parent.relative_to(ROOT) for paths in FILES.values() for path in paths}
    # At the top what concerns the whole: commands from outside, the repository, the distribution.
    assert folders - packages <= {Path(), Path("fuzz")}


def test_the_picture_of_the_storeys_names_every_package() -> None:
    names = " ".join(
        re.findall(r'font-weight="bold"[^>]*>([^<]+)<', (ROOT / "docs" / "storeys.svg").read_text())
    )
    packages = {
        path.parent.name for room in ("reid", "serving") for path in (ROOT / room).glob("*/__init__.py")
    }
    assert packages <= set(re.findall(r"\w+", names))


def test_where_to_change_a_thing_is_said_once_and_is_there() -> None:
    lines = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| ") and "`" in line]
    assert len(rows) > 40
    assert len({where for _, where in rows}) == len(rows)
    places = {place for _, where in rows for place in re.findall(r"`([\w.*/]+/[\w.*/]*)`", where)}
    assert len(places) > 50
    assert not [place for place in sorted(places) if not list(ROOT.glob(place))]
