"""Parses user input and files into pydantic models, shortens pydantic's first error to one line, and reads JSON from
other programs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tuneport.errors import ConfigError
from tuneport.spelling import did_you_mean

M = TypeVar("M", bound=BaseModel)
_UNION_MEMBERS = ("int", "float", "str", "bool", "enum")


def parse_or_config_error(type_: type[M], values: Mapping[str, Any]) -> M:
    """Build a model of what a person wrote. ConfigError names the field, and what was written there."""
    try:
        return type_.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            meant = did_you_mean(str(first["loc"][0]), type_.model_fields)
            known = meant or f"; known are: {', '.join(type_.model_fields)}"
            raise ConfigError(f"{first_error(error)}{known}") from error
        if not first["loc"]:  # of several fields together: what was written would be all of them
            raise ConfigError(first_error(error)) from error
        raise ConfigError(f"{first_error(error)}; got {first['input']!r}") from error


def validate_toml_table(type_: type[M], values: Mapping[str, Any], table: str) -> M:
    """Build a model of a table of tuneport.toml. ConfigError names the line, not what stands there."""
    try:
        return type_.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"tuneport.toml: {first_error(error, table)}; correct that line") from error


def validate_toml_file(type_: type[M], path: Path) -> M:
    """Build a model of a whole TOML file. ConfigError names the file and the line, but not what stands there."""
    try:
        return type_.model_validate(read_toml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_error(error)}; correct that line") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file says. ConfigError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; correct the file") from error


def describe_type(hint: Any) -> str:
    """Return the values that a type takes, in words: "a whole number or auto"."""
    words = _words_of_type(hint)
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _words_of_type(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(each) for each in get_args(hint)]
    known = {bool: ["true", "false"], int: ["a whole number"], float: ["a number"], str: ["text"], type(None): []}
    return known[hint] if hint in known else [word for each in get_args(hint) for word in _words_of_type(each)]


def first_error(error: ValidationError, within: str = "") -> str:
    """Return the first field at fault, `within` a table, and what is wrong with it, but not what was written there."""
    first = error.errors()[0]
    # For a field of several types pydantic's location ends with the type that it tried, e.g. epochs.int.
    places = [within, *(str(part) for part in first["loc"])]
    field = ".".join(part for part in places if part and part not in _UNION_MEMBERS and "[" not in part)
    if first["type"] == "extra_forbidden":
        return f"there is no {field!r}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def decode_json(text: str | bytes) -> Any:
    """Parse the text. Raises ValueError if it is not JSON, or nests too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def is_unicode_text(text: str) -> bool:
    """Return whether the text consists of whole characters: a browser may send half of a surrogate pair, which no file
    in UTF-8 takes."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in the file. Raises OSError if it cannot be read, ValueError if it holds no object."""
    content = decode_json(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"it holds {_NAMES_OF_TYPES.get(type(content), 'a number')} instead of an object")
    return content


_NAMES_OF_TYPES = {list: "a list", str: "text", bool: "a truth value", type(None): "null"}
