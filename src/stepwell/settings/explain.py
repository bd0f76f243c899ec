"""From pydantic's errors to sentences that name the setting and the remedy, never the value."""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stepwell.settings.fields import MISTAKE
from stepwell.settings.model import Part, Shape
from stepwell.settings.problems import Problems, did_you_mean, is_key, is_showable, shown
from stepwell.settings.tree import Location, Value, joined

_SENTENCES: Final[Mapping[str, str]] = {
    "string_type": "this must be text; put it in quotes",
    "int_type": "this must be a whole number",
    "int_parsing": "this must be a whole number",
    "int_from_float": "this must be a whole number",
    "bool_type": "this must be true or false",
    "bool_parsing": "this must be true or false",
    "list_type": "this must be a list",
    "tuple_type": "this must be a list",
    "frozen_set_type": "this must be a list",
    "dict_type": "this must be a mapping",
    "greater_than": "this must be more than {gt:g}",
    "greater_than_equal": "this must be at least {ge:g}",
}


def explain(error: ValidationError, left: Value, written: Value, problems: Problems) -> None:
    """Add a problem for each of pydantic's errors.

    Args:
        error: Holds them.
        left: The tree that was validated.
        written: The tree with what had been taken out of it, which is not missing.
        problems: Takes them.
    """
    paths = {value.path for value in written.walk()}
    for details in error.errors(include_url=False, include_input=False):
        value = left.at(details["loc"])
        if details["type"] == "missing" and joined(value.path, details["loc"][-1]) in paths:
            continue
        problems.add(_named(value, left.at(details["loc"][:-1])), _sentence(details, value))


def _named(value: Value, parent: Value) -> Value:
    """Return whose path is to be told: below `api_keys`, a strange name may be a key itself."""
    name = value.path.removeprefix(f"{parent.path}.")
    is_strange = isinstance(parent.data, dict) and not re.fullmatch(r"[a-z_]{1,24}", name)
    return parent if is_strange and is_key(value) else value


def blamed(error: ValidationError, tree: Value) -> list[Value]:
    """Return the values to leave out so that the rest can be looked at."""
    return [tree.at(details["loc"]) for details in error.errors(include_url=False)]


def _sentence(details: ErrorDetails, value: Value) -> str:
    kind, location, context = details["type"], details["loc"], details.get("ctx", {})
    if kind == MISTAKE:
        return str(context["open" if is_showable(value) else "discreet"])
    if kind == "missing":
        return f"{location[-1]!r} is missing"
    if kind == "extra_forbidden":
        name = str(location[-1])
        return f"unknown setting{did_you_mean(name, _names_at(location[:-1]))}"
    if kind == "literal_error":
        return _wrong_choice(context, value)
    if kind in {"model_type", "model_attributes_type"}:
        return f"this must be {_shape_at(location)}"
    return _SENTENCES.get(kind, "this is not valid").format(**context)


def _wrong_choice(context: Mapping[str, Any], value: Value) -> str:
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    text = f"{shown(value)} is none of {', '.join(choices)}"
    if isinstance(value.data, str) and is_showable(value):
        hint = did_you_mean(value.data, choices)
        text += hint if "mean" in hint else ""
    return text


def _names_at(location: Location) -> list[str]:
    """Return the settings that exist at a place."""
    model = _model_at(location)
    return list(model.model_fields) if model else []


def _shape_at(location: Location) -> str:
    model = _model_at(location)
    return model.shape if model else "a mapping"


def _model_at(location: Location) -> type[Part] | None:
    """Follow a location through the types of the fields."""
    here: Any = Shape
    for part in location:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        elif here is not None:
            here = get_args(here)[-1 if get_origin(here) is dict else 0]
    return here if isinstance(here, type) and issubclass(here, Part) else None
