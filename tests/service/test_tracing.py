"""NTM_TRACES from the outside: refused by name without the extra, and free where it is off."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from service import tracing
from service.settings import Settings
from tests.service.grpc.test_port import without
from tests.service.serving import STOP_S, environ


@pytest.mark.parametrize(
    ("modules", "package"),
    [
        (("opentelemetry.sdk",), "opentelemetry-sdk"),
        (("opentelemetry",), "opentelemetry-sdk"),
        (
            ("opentelemetry.exporter.otlp.proto.http",),
            "opentelemetry-exporter-otlp-proto-http",
        ),
    ],
)
def test_traces_without_the_extra_are_refused_by_name(modules: tuple[str, ...], package: str):
    done = subprocess.run(
        without(*modules), env=environ(NTM_TRACES="1", NTM_PORT="0"), capture_output=True,
        text=True, timeout=STOP_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        f"ntm serve: NTM_TRACES: expected the extra 'otel' ({package} is not installed): "
        "pip install -e '.[otel]'\n"
    )


def test_without_the_setting_no_process_loads_what_the_extra_brings():
    program = (
        "import json, sys\n"
        "import service.cli, service.supervisor, service.front, service.engine.process\n"
        "from service.app import create_app\n"
        "from service.settings import Settings\n"
        "create_app(Settings())\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = json.loads(done.stdout)
    assert "service.tracing" in loaded and "service.spans" not in loaded
    # Litestar itself looks for the package, and takes the names of some attributes from it.
    assert {"opentelemetry.sdk", "opentelemetry.trace", "opentelemetry.exporter"}.isdisjoint(loaded)


def test_without_the_setting_there_is_no_tracer():
    tracing.check(Settings())
    assert tracing.start(Settings(), "engine") is None
