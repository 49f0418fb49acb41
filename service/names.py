"""Names that a request brings, checked before they reach a key, a path or the engine.

A name that can be nobody's is refused as an unknown one is, with the same code; one that is to be
given to something new, and a filter, are refused as malformed.
"""

from __future__ import annotations

import re

from export.bundle import NAME_PATTERN
from service.engine.sessions import ID_PATTERN
from service.errors import InvalidRequest, ModelNotFound, PointNotKept, SessionNotFound

ROLES = re.compile(r"[a-z_]{1,32}(,[a-z_]{1,32}){0,31}")


def session(name: str) -> str:
    """The id of a session that should be there. Raises SessionNotFound for what can be no id."""
    if not ID_PATTERN.fullmatch(name):
        raise SessionNotFound(f"expected the id of a live session, got {name!r}")
    return name


def model(name: str) -> str:
    """The name of a model that should be loaded. Raises ModelNotFound for what can be no name."""
    if not NAME_PATTERN.fullmatch(name):
        raise ModelNotFound(f"expected the name of a loaded model, got {name!r}")
    return name


def version(name: str | None) -> str | None:
    """The version, where one is named. Raises ModelNotFound for what can be no version."""
    if name is not None and not NAME_PATTERN.fullmatch(name):
        expected = "the version of a loaded model"
        raise ModelNotFound(f"expected {expected}, got {name!r}", expected=expected, got=name)
    return name


def snapshot(name: str | None) -> str | None:
    """The snapshot, where one is named. Raises PointNotKept for what can be no name of one."""
    if name is not None and not ID_PATTERN.fullmatch(name):
        expected = "the name of a snapshot"
        raise PointNotKept(f"expected {expected}, got {name!r}", expected=expected, got=name)
    return name


def fresh(name: str | None, where: str) -> str | None:
    """A name for a new session or snapshot, where one is given. Raises InvalidRequest."""
    return _fit(ID_PATTERN, name, where)


def cursor(name: str | None) -> str | None:
    """The id of the session that a page begins behind. Raises InvalidRequest."""
    return _fit(ID_PATTERN, name, "cursor")


def only_model(name: str | None) -> str | None:
    """The model whose sessions alone are asked for, loaded or not. Raises InvalidRequest."""
    return _fit(NAME_PATTERN, name, "model")


def roles(text: str | None) -> tuple[str, ...]:
    """The roles of tensors that are asked for; a role that no tensor has brings none.

    Raises InvalidRequest for what is no list of them.
    """
    return () if text is None else tuple((_fit(ROLES, text, "roles") or "").split(","))


def _fit(pattern: re.Pattern[str], name: str | None, where: str) -> str | None:
    if name is not None and not pattern.fullmatch(name):
        raise InvalidRequest(
            f"{where}: expected to match {pattern.pattern}, got {name!r}",
            expected=pattern.pattern, got=name, where=where,
        )  # fmt: skip
    return name
