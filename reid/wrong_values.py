"""What is wrong with a value that a person wrote, and what to take instead. Torch-free.

Numbers may be written as texts, since YAML takes ``1e-4`` for one; true and false are no numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

__all__ = ["TRUTH_FOR_NUMBER", "is_truth_for_number", "what_to_take"]

_NUMBER = {"float_type", "float_parsing", "finite_number"}
_WHOLE = {"int_type", "int_parsing", "int_from_float", "int_parsing_size"}
_RANGE = {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}
_OTHER = {
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type"), "a mapping"),
    "string_type": "a text",
}
TRUTH_FOR_NUMBER = "truth_for_number"
"""The type of pydantic's error that a section reports where :func:`is_truth_for_number`."""

_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def is_truth_for_number(value: object, annotation: object) -> bool:
    """Whether ``value`` is true or false, and the type a number: pydantic takes them for 1 and 0."""
    kinds = _alternatives(annotation)
    return isinstance(value, bool) and bool({int, float} & kinds) and bool not in kinds


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
    if kind in _NUMBER | _WHOLE | _RANGE | {TRUTH_FOR_NUMBER}:
        annotation, limits = _at(model, error["loc"])
        noun = "a whole number" if kind in _WHOLE or int in _alternatives(annotation) else "a number"
        take = ", ".join((noun, limits)) if limits else noun
    elif kind in _OTHER:
        take = _OTHER[kind]
    elif kind == "literal_error":
        take = error["ctx"]["expected"]
    else:
        return f"{what}: {message}"
    return f"{what} is {_shown(error['input'])}: take {take}"


def _shown(value: object) -> str:
    """As YAML has it, where it is short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, str):
        return f"{value[:40]!r}"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def _at(model: Any, location: Sequence[int | str]) -> tuple[Any, str]:
    """The type at a place, and its limits in words."""
    annotation, limits = model, ""
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
        if get_origin(annotation) is Annotated:
            annotation, *notes = get_args(annotation)
            limits = _limits(one for note in notes for one in getattr(note, "metadata", [note]))
    if get_origin(annotation) is Literal:
        limits = " or ".join(map(str, get_args(annotation)))
    return annotation, limits


def _limits(notes: Iterable[object]) -> str:
    found = ((words, getattr(note, name, None)) for note in notes for name, words in _LIMITS.items())
    return " and ".join(
        f"{words} {limit if isinstance(limit, int) else format(limit, 'g')}"
        for words, limit in found
        if limit is not None
    )


def _alternatives(annotation: Any) -> set[Any]:
    """The types of a union, or the one type; of named values their types."""
    one_by_one = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return {
        kind
        for one in one_by_one
        for kind in (map(type, get_args(one)) if get_origin(one) is Literal else (one,))
    }


def _without_null(annotation: Any) -> Any:
    """The one type beside null, where there is one."""
    others = [one for one in get_args(annotation) if one is not NoneType]
    union = get_origin(annotation) in (Union, UnionType)
    return others[0] if union and len(others) == 1 else annotation
