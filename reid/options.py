"""Options that people write into params.yaml, held against what a loss, a miner or a sampler takes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from reid.errors import UsageError
from reid.wrong_values import truths_for_numbers, what_to_take

__all__ = ["AboveZero", "Count", "Share", "fitting", "one_of"]

# What an option's annotation may be, for :func:`fitting` to refuse values that no calculation can use.
Share = Annotated[float, Field(ge=0, le=1)]
AboveZero = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


def one_of(registry: Mapping[str, Any], name: str, what: str) -> Any:
    """The entry ``name`` of a registry.

    Raises:
        UsageError: there is none; the message names those there are.
    """
    if name not in registry:
        raise UsageError(f"{what} {name!r} is unknown: take one of {', '.join(sorted(registry))}")
    return registry[name]


def fitting(make: Callable[..., object], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """``options`` as arguments of ``make``, each of the type that is annotated there.

    Args:
        make: a function or a class.
        options: values by name, as YAML gives them.
        what: begins the message, e.g. ``loss circle``.

    Raises:
        UsageError: an option is unknown, missing, of another type or out of its annotation's range, or a
            number is not finite; the message names it and the known ones, or what to take.
    """
    known = inspect.signature(make).parameters
    takes = f"it takes {', '.join(known) or 'none'}"
    for option in options:
        if option not in known:
            raise UsageError(f"{what} has no option {option!r}: {takes}")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise UsageError(f"{what} needs the option {option!r}: {takes}")
    return {option: _typed(known[option], value, what) for option, value in options.items()}


def _typed(parameter: inspect.Parameter, value: Any, what: str) -> Any:
    if parameter.annotation is parameter.empty:
        return value
    shown = f"{what}: the option {parameter.name!r}"
    for _, truth in truths_for_numbers(value, parameter.annotation):
        raise UsageError(f"{shown} is {str(truth).lower()}: take a number")
    try:
        checked = TypeAdapter(parameter.annotation, config=ConfigDict(allow_inf_nan=False))
    except PydanticSchemaGenerationError as error:  # a type of our own, which no YAML file holds
        if isinstance(value, str | int | float | list | dict):
            raise UsageError(f"{shown} is set by the training, and not by a file: leave it out") from error
        return value
    try:
        return checked.validate_python(value)
    except ValidationError as error:
        raise UsageError(what_to_take(error.errors()[0], shown, parameter.annotation)) from error
