"""NTM_TRACES before anything is traced: is the extra installed? Nothing here imports opentelemetry
unless traces are on, so without them a process never loads it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from service.environ import SettingsError
from service.settings import Settings

if TYPE_CHECKING:
    from service.spans import Tracer

PACKAGES = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
}


def check(settings: Settings) -> None:
    """Raises SettingsError where NTM_TRACES asks for what is not installed."""
    for module, package in PACKAGES.items() if settings.traces else ():
        if not _installed(module):
            raise SettingsError(
                f"NTM_TRACES: expected the extra 'otel' ({package} is not installed): "
                "pip install -e '.[otel]'"
            )


def start(settings: Settings, process: str) -> Tracer | None:
    """The tracer of this process, which its owner closes; None where NTM_TRACES is 0.

    process: what this one is, as its spans tell.
    """
    if not settings.traces:
        return None
    from service.spans import Tracer

    return Tracer(process)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False
