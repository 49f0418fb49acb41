"""What is known against the packages of a lock, by whichever service can be asked."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

SERVICES = ("pypi", "osv")
IGNORED = Path(__file__).parent / "ignored.toml"
ASK_S = 120


class Finding(NamedTuple):
    """A known vulnerability of a pin. ids: its own and its aliases."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]


class Heard(NamedTuple):
    """What a service said: the packages that it knows and does not know, and what it has found."""

    known: frozenset[str]
    unknown: frozenset[str]
    findings: tuple[Finding, ...]


class Ignored(NamedTuple):
    """A vulnerability that does not reach us, for this reason, to be looked at anew after a day."""

    id: str
    package: str
    reason: str
    until: datetime.date


def ask(service: str, lock: Path, *options: str) -> Heard | None:
    """What a service says of a lock; None where it does not answer. options: pip-audit's."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip",
        "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off",
        *options,
    ]  # fmt: skip
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=False)
        return heard(json.loads(ended.stdout))
    except (subprocess.TimeoutExpired, ValueError):
        return None


def heard(report: dict[str, Any]) -> Heard | None:
    """A report of pip-audit; None where the service knows no package at all.

    pip-audit ends with 0 and says that nothing was found where its service answered every question
    with 404, as a mirror without vulnerabilities does.
    """
    told: list[dict[str, Any]] = report["dependencies"]
    known = frozenset(one["name"] for one in told if "skip_reason" not in one)
    unknown = frozenset(one["name"] for one in told if "skip_reason" in one)
    return Heard(known, unknown, tuple(_findings(told))) if known else None


def _findings(told: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    for one in told:
        for found in one.get("vulns", ()):
            ids = (found["id"], *found.get("aliases", ()))
            yield Finding(one["name"], one["version"], ids, tuple(found.get("fix_versions", ())))


def ignored(text: str, today: datetime.date) -> list[Ignored]:
    """The list of what is ignored. Raises ValueError for one without a reason or past its day."""
    found = [Ignored(**entry) for entry in tomllib.loads(text).get("ignored", ())]
    for entry in found:
        if not entry.reason.strip():
            raise ValueError(f"{entry.id} is ignored without a reason")
        if entry.until < today:
            raise ValueError(f"{entry.id} was ignored until {entry.until}: look at it anew")
    return found


def open_findings(findings: Iterable[Finding], known: Iterable[Ignored]) -> list[Finding]:
    """Those that are not ignored."""
    passed = {(entry.package, entry.id) for entry in known}
    return [one for one in findings if not passed & {(one.package, name) for name in one.ids}]
