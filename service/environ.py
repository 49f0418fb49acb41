"""Values of annotated types as the text of environment variables: what settings.py is read by."""

from __future__ import annotations

import os
from typing import Any, Literal, cast, get_args, get_origin

import msgspec
from msgspec import Meta


class SettingsError(Exception):
    """A setting that cannot be used. Says which variable, what was expected and what it got."""


def meta_of(hint: Any) -> Meta:
    """What is said of a setting of this annotated type."""
    return hint.__metadata__[0]


def parse(variable: str, text: str, hint: Any) -> Any:
    """The value of this annotated type that a variable has. Raises SettingsError."""
    value: Any = text.strip()
    if get_origin(hint.__origin__) is tuple:
        separator = _separator(hint)
        if separator == os.pathsep and "://" in text:
            raise SettingsError(
                f"{variable}: expected folders of this machine, got {text!r}: nothing is fetched"
            )
        parts = value.split(separator)
        value = [part.strip() for part in parts if part.strip()]
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(f"{variable}: expected {_expected(hint)}, got {text!r}") from None


def _expected(hint: Any) -> str:
    bare, meta = hint.__origin__, meta_of(hint)
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(get_args(bare))
    if bare is bool:
        return "0 or 1"
    if meta.pattern is not None:
        return meta.title or meta.pattern
    if bare is str or get_origin(bare) is tuple:
        return "something that is not empty"
    kind = "a whole number" if bare is int else "a number"
    least = f"above {meta.gt:g}" if meta.gt is not None else f"from {meta.ge:g}"
    return f"{kind} {least}" + ("" if meta.le is None else f" to {meta.le:.15g}")


def _separator(hint: Any) -> str:
    """What stands between the parts of a list."""
    return (meta_of(hint).extra or {}).get("separator", os.pathsep)


def text_of(value: Any, hint: Any) -> str:
    """The text that parses to a value of this annotated type."""
    if isinstance(value, tuple):
        return _separator(hint).join(cast("tuple[str, ...]", value))
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
