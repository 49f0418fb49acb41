"""What every family's step holds to: a row's result does not depend on its batch."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS = 32  # that are stepped, in batches of these sizes, each row at some place of each
SIZES = (4, 8, 12, ROWS)

Feeds = dict[str, np.ndarray[Any, Any]]


def assert_alone_is_as_in_any_batch(session: Any, feeds: Feeds, others: Feeds) -> None:
    """An ONNX session's outputs for some of the ROWS rows of `feeds`, bit for bit: first in the
    smallest batch beside `others`, as many rows as that, then beside the rest."""
    for row in range(0, ROWS, 5):
        alone = {key: value.copy() for key, value in others.items()}
        for key in alone:
            alone[key][0] = feeds[key][row]
        want = session.run(None, alone)
        for size in SIZES:
            place = (7 * row) % size
            order = np.roll(np.arange(ROWS), place - row)[:size]
            got = session.run(None, {key: value[order] for key, value in feeds.items()})
            for expected, actual in zip(want, got, strict=True):
                assert expected[0].tobytes() == actual[place].tobytes()
