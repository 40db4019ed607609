"""Options that people write into params.yaml, held against what a loss, a miner or a sampler takes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from reid.errors import UsageError
from reid.wrong_values import is_truth_for_number, what_to_take

__all__ = ["fitting", "one_of"]


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
        UsageError: an option is unknown, missing or of another type; the message names it and the known ones.
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
    if is_truth_for_number(value, parameter.annotation):
        raise UsageError(f"{shown} is {str(value).lower()}: take a number")
    try:
        return TypeAdapter(parameter.annotation).validate_python(value)
    except PydanticSchemaGenerationError:  # a type of our own, which no YAML file holds
        return value
    except ValidationError as error:
        raise UsageError(what_to_take(error.errors()[0], shown, parameter.annotation)) from error
