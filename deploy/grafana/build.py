"""python -m deploy.grafana.build: write the dashboards' JSON anew from boards/."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards.gpu import gpu
from deploy.grafana.boards.models import models
from deploy.grafana.boards.service import service
from deploy.grafana.boards.sessions import sessions

FOLDER = Path(__file__).with_name("dashboards")
BOARDS: tuple[Callable[[], Dashboard], ...] = (service, sessions, models, gpu)


def text(dashboard: Dashboard) -> str:
    """A dashboard as Grafana reads it, in an order that makes changes easy to see."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write them all."""
    for make in BOARDS:
        (FOLDER / f"{make.__name__}.json").write_text(text(make()))


if __name__ == "__main__":
    main()
