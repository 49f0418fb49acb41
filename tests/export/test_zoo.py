from __future__ import annotations

from pathlib import Path

import pytest

from export.bundle import STEP_TORCHSCRIPT, read_bundle
from export.command import ZOO, main

# With an empty zoo the one parameter is None, and the test fails: a server without a model is none.
ENTRIES = sorted(card.parent for card in ZOO.glob("*/card.json")) or [None]


def name_of(entry: Path | None) -> str:
    return entry.name if entry else "empty zoo"


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_the_committed_bundle_is_what_its_entry_exports(
    entry: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry is not None, f"no entry with a card in {ZOO}"
    status = main([str(entry), "--check"])
    assert status == 0, f"`ntm export {entry.name}` would mend: {capsys.readouterr()}"


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_the_committed_bundle_is_data_alone(entry: Path | None) -> None:
    assert entry is not None, f"no entry with a card in {ZOO}"
    assert STEP_TORCHSCRIPT not in read_bundle(entry / "bundle").manifest.files
