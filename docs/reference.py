"""Write the reference pages from the models that check commands, ``params.yaml`` and ``job.yaml``.

``python docs/reference.py`` writes ``docs/reference/{commands,params,job}.md``; ``tests/test_docs.py`` fails
when a page is not current.
"""

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
# run as a script, the packages of this checkout are meant and not installed ones
sys.path.insert(0, str(ROOT))

Row = tuple[str, ...]
_COMMENT = re.compile(r"\s#\s(?!noqa|type:)(.*)$")


def comment_on(line: str) -> str:
    """The comment at the end of a line of Python or YAML, else an empty text."""
    found = _COMMENT.search(line)
    return found[1].strip() if found else ""


def table(head: Row, rows: list[Row]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def code(text: object) -> str:
    """A value as code; nothing stays nothing."""
    return f"`{text}`" if str(text) else ""


# --- commands


def commands(command: Any, name: str = "reid") -> Iterator[tuple[str, Any]]:
    """Every command of a Typer application with its full name, groups too."""
    yield name, command
    for key, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {key}")


def options(command: Any) -> list[Row]:
    """A command's arguments and options: names, default, help."""
    rows = []
    for one in command.params:
        if one.hidden or "--help" in one.opts:
            continue
        is_argument = one.param_type_name == "argument"
        names = (
            code((one.metavar or one.name).upper())
            if is_argument
            else ", ".join(map(code, [*one.opts, *one.secondary_opts]))
        )
        has_default = not one.required and one.default not in (None, False, ()) and not callable(one.default)
        default = "required" if one.required else code(one.default) if has_default else ""
        rows.append((names, default, " ".join((one.help or "").split())))
    return rows


def commands_page() -> str:
    """The page of the commands."""
    from typer.main import get_command

    from pipelines.cli import app

    parts = [
        "# Commands",
        "`reid COMMAND --help` prints the same. Exit codes: 0 done, 1 failed, 2 wrong use.",
    ]
    for name, command in commands(get_command(app)):
        parts += [f"## {name}", inspect.cleandoc(command.help or "").replace("``", "`")]
        if rows := options(command):
            parts.append(table(("argument or option", "default", "meaning"), rows))
    return page(parts)


# --- models


def kind(annotation: Any) -> str:
    """A type in the words of YAML: choices, a list of numbers, ..."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind(inside[0])
    if origin is typing.Literal:
        return " | ".join(map(str, inside))
    if origin in (typing.Union, types.UnionType):
        return " | ".join("null" if one is type(None) else kind(one) for one in inside)
    if origin is tuple:
        return f"list of {kind(inside[0])}" if inside[-1] is Ellipsis else f"[{', '.join(map(kind, inside))}]"
    if origin is list:
        return f"list of {kind(inside[0])}"
    if origin is dict:
        return "mapping"
    plain = {str: "text", int: "integer", float: "number", bool: "true | false", Any: "anything"}
    return plain.get(annotation, "section" if is_model(annotation) else annotation.__name__)


def is_model(annotation: Any) -> bool:
    """Whether a type is a section with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def inner_model(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The section inside a type, and what stands between the dots: a list's or a mapping's element."""
    if is_model(annotation):
        return annotation, ""
    inside = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict and is_model(inside[1]):
        return inside[1], ".NAME"
    if typing.get_origin(annotation) is tuple and is_model(inside[0]):
        return inside[0], "[]"
    return None, ""


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str, FieldInfo]]:
    """Every key of a model with its dotted name, the model it stands in, and its field; sections before what
    is in them.
    """
    for name, field in model.model_fields.items():
        yield prefix + name, model, name, field
        inner, between = inner_model(field.annotation)
        if inner:
            yield from fields(inner, f"{prefix}{name}{between}.")


def limits(field: FieldInfo) -> str:
    """The range of a number or the length of a text or list."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "at least", "max_length": "at most"}
    found = ((sign, getattr(one, key, None)) for one in field.metadata for key, sign in signs.items())
    return ", ".join(f"{sign} {value}" for sign, value in found if value is not None)


def own_comments(model: type[BaseModel]) -> dict[str, str]:
    """The comments beside the fields of a model, or right above them, from its source."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(model).splitlines():
        if line.startswith("    # "):
            above.append(line.strip().removeprefix("# "))
            continue
        if field := re.match(r"    (\w+): ", line):
            found[field[1]] = comment_on(line) or " ".join(above)
        above = []
    return found


def page_of_keys(
    title: str,
    begin: str,
    model: type[BaseModel],
    meanings: dict[str, str],
    shown: dict[str, str] | None = None,
) -> str:
    """The keys of a model, a table a section.

    Args:
        title: of the page.
        begin: the first sentences.
        model: the whole file.
        meanings: what a dotted key means, where the model's source does not say it.
        shown: the value of a dotted key in the file of the repository; None: the default of the model.
    """
    sections: dict[tuple[str, type[BaseModel]], list[Row]] = {}
    for key, owner, name, field in fields(model):
        prefix = key[: len(key) - len(name)].rstrip(".")
        inner, _ = inner_model(field.annotation)
        default = "" if inner or field.is_required() or field.default_factory else _yaml(field.default)
        value = code(default) if shown is None else code(shown.get(key, default))
        if field.is_required() and shown is None:
            value = "required"
        meaning = (
            field.description
            or own_comments(owner).get(name)
            or meanings.get(key)
            or (first_line(inner) if inner else "")
        )
        meaning = re.sub(r"\bNone\b", "null", meaning)
        rows = sections.setdefault((prefix, owner), [])
        rows.append((code(key), kind(field.annotation), limits(field), value, meaning))
    parts = [f"# {title}", begin]
    for (prefix, owner), rows in sections.items():
        if prefix:
            parts += [f"## {prefix}", inspect.cleandoc(owner.__doc__ or "").replace("``", "`")]
        head = ("key", "value", "range", "default" if shown is None else "in params.yaml", "meaning")
        parts.append(table(head, rows))
    return page(parts)


def first_line(model: type[BaseModel]) -> str:
    """The first paragraph of a model's docstring, as one line."""
    return " ".join(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].split()).replace("``", "`")


def _yaml(value: object) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def yaml_lines(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Comments and values of a YAML file by dotted key."""
    lines = text.splitlines()
    meanings: dict[str, str] = {}
    shown: dict[str, str] = {}

    def walk(node: yaml.MappingNode, prefix: str) -> None:
        for name, value in node.value:
            key = prefix + name.value
            meanings[key] = comment_on(lines[name.start_mark.line])
            if isinstance(value, yaml.MappingNode) and value.value:
                walk(value, key + ".")
            else:
                shown[key] = text[value.start_mark.index : value.end_mark.index]

    walk(yaml.compose(text), "")
    return meanings, shown


def params_page() -> str:
    """The page of ``params.yaml``."""
    from reid.config import Params
    from reid.data.findings import KINDS

    meanings, shown = yaml_lines((ROOT / "params.yaml").read_text())
    meanings |= {f"data.policies.{name}": one.meaning for name, one in KINDS.items()}
    begin = (
        "An unknown or missing key is an error that names it; `reid params` checks a file. `NAME` is "
        "an objective or a term, which may have any name. What each needs when: "
        "[Objectives](../objectives.md), [Training](../training.md)."
    )
    return page_of_keys("params.yaml", begin, Params, meanings, shown)


def job_page() -> str:
    """The page of ``job.yaml``."""
    from serving.spec import Job

    begin = (
        "The job file of `reid match`. Paths are relative to the file. An unknown key is an error that "
        "names it. "
        "An example and how the keys work together: [The camera job](../camera_job.md)."
    )
    return page_of_keys("job.yaml", begin, Job, {})


# --- pages


def page(parts: list[str]) -> str:
    """A page from its paragraphs, with a line for who edits it."""
    return "\n\n".join(["<!-- Written by docs/reference.py. -->", *(part for part in parts if part)]) + "\n"


def pages() -> dict[str, str]:
    """The text of each page by its file name in ``docs/reference``."""
    return {"commands.md": commands_page(), "params.md": params_page(), "job.md": job_page()}


def main() -> None:
    """Write the pages."""
    folder = ROOT / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
