"""What is wrong with a value that a person wrote, and what to take instead. Torch-free.

Numbers may be written as texts, since YAML takes ``1e-4`` for one; true and false are no numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

__all__ = ["NAME_OR_MAPPING", "TRUTH_FOR_NUMBER", "truths_for_numbers", "what_to_take"]

_NUMBER = {"float_type", "float_parsing", "finite_number"}
_WHOLE = {"int_type", "int_parsing", "int_from_float", "int_parsing_size"}
_RANGE = {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}
NAME_OR_MAPPING = "name_or_mapping"
"""The type of pydantic's error where a section may be written as its name alone, and is neither."""

_OTHER = {
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type"), "a mapping"),
    NAME_OR_MAPPING: "a name, or a mapping of name and options",
    "string_type": "a text",
}
TRUTH_FOR_NUMBER = "truth_for_number"
"""The type of pydantic's error that a section reports where :func:`truths_for_numbers` finds one."""


_LENGTH = {"too_short": ("at least", "min_length"), "too_long": ("at most", "max_length")}
_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def truths_for_numbers(
    value: object, annotation: object, at: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], bool]]:
    """Where ``value`` is true or false, and the type a number, which pydantic takes for 1 and 0; in mappings
    and lists too.

    >>> list(truths_for_numbers({"fp32": True, "int8": 0.5}, dict[str, float]))
    [(('fp32',), True)]
    """
    kinds = _alternatives(annotation)
    if isinstance(value, bool):
        if {int, float} & kinds and bool not in kinds:
            yield at, value
        return
    for kind in kinds:
        origin, inner = get_origin(kind), get_args(kind)
        if origin is dict and isinstance(value, Mapping):
            for key, one in value.items():
                yield from truths_for_numbers(one, inner[1], (*at, str(key)))
        elif origin in (list, tuple) and isinstance(value, list | tuple):
            every = len(inner) == 1 or inner[-1] is Ellipsis
            for place, one in enumerate(value[: None if every else len(inner)]):
                yield from truths_for_numbers(one, inner[0 if every else place], (*at, place))


def what_to_take(error: ErrorDetails, what: str, model: type[BaseModel] | Any) -> str:
    """One line of the first thing that pydantic found wrong.

    Args:
        error: as pydantic reports it.
        what: the key, or whatever has the value.
        model: the section, or another type, that the error's location begins in.

    >>> from pydantic import ValidationError
    >>> from reid.config import MetricParams
    >>> try:
    ...     MetricParams(shrinkage=2)
    ... except ValidationError as found:
    ...     print(what_to_take(found.errors()[0], "metric.shrinkage", MetricParams))
    metric.shrinkage is 2: take a number, at least 0 and at most 1
    """
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    annotation, limits = _at(model, error["loc"])
    if kind in _NUMBER | _WHOLE | _RANGE | {TRUTH_FOR_NUMBER}:
        noun = "a whole number" if kind in _WHOLE or int in _alternatives(annotation) else "a number"
        if kind == "finite_number":
            noun = noun.replace("a ", "a finite ")
        take = ", ".join((noun, limits)) if limits else noun
    elif kind in _OTHER:
        take = _OTHER[kind]
    elif kind == "literal_error":
        take = error["ctx"]["expected"]
    elif kind in _LENGTH:
        word, most = _LENGTH[kind]
        has, limit = error["ctx"]["actual_length"], error["ctx"][most]
        return f"{what} is {f'of {has}' if has else 'empty'}: take {word} {limit}"
    else:
        return f"{what}: {message}"
    null = ", or null" if NoneType in _alternatives(annotation) else ""
    return f"{what} is {_shown(error['input'])}: take {take}{null}"


def _shown(value: object) -> str:
    """As YAML has it, where it is short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, str):
        return f"{value[:40]!r}"
    if isinstance(value, Mapping):
        return "a mapping"
    # what else YAML knows, such as a date, as Python has it
    return "a list" if isinstance(value, list | tuple) else f"{value}"[:40]


def _at(model: Any, location: Sequence[int | str]) -> tuple[Any, str]:
    """The type at a place, and its limits in words."""
    annotation, limits = _bare(model, "")
    for part in location:
        if part == "[key]":
            return str, ""
        annotation = _without_null(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            if field is None:
                break
            annotation, limits = field.annotation, _limits(field.metadata)
        else:  # a mapping's values, or a list's elements
            annotation, limits = ([*get_args(annotation)] or [Any])[-1 if isinstance(part, str) else 0], ""
        annotation, limits = _bare(annotation, limits)
    if get_origin(annotation) is Literal:
        limits = " or ".join(map(str, get_args(annotation)))
    return annotation, limits


def _bare(annotation: Any, limits: str) -> tuple[Any, str]:
    """The type without its notes, and the limits that these say."""
    if get_origin(annotation) is not Annotated:
        return annotation, limits
    bare, *notes = get_args(annotation)
    return bare, _limits(one for note in notes for one in getattr(note, "metadata", [note]))


def _limits(notes: Iterable[object]) -> str:
    found = ((words, getattr(note, name, None)) for note in notes for name, words in _LIMITS.items())
    return " and ".join(
        f"{words} {limit if isinstance(limit, int) else format(limit, 'g')}"
        for words, limit in found
        if limit is not None
    )


def _alternatives(annotation: Any) -> set[Any]:
    """The types of a union, or the one type, without notes; of named values their types."""
    annotation, _ = _bare(annotation, "")
    one_by_one = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return {
        kind
        for one, _ in (_bare(one, "") for one in one_by_one)
        for kind in (map(type, get_args(one)) if get_origin(one) is Literal else (one,))
    }


def _without_null(annotation: Any) -> Any:
    """The one type beside null, where there is one."""
    others = [one for one in get_args(annotation) if one is not NoneType]
    union = get_origin(annotation) in (Union, UnionType)
    return others[0] if union and len(others) == 1 else annotation
