"""Rows consumed before: found in whatever records they were consumed by, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import PointNotKept, RowsDiffer
from service.results import HistoryRecord
from service.stream.past import Past

WIDTH, ANSWER = 3, 2
ROWS = np.arange(12 * WIDTH, dtype=np.float32).reshape(12, WIDTH)
OUTPUTS = -np.arange(12 * ANSWER, dtype=np.float32).reshape(12, ANSWER)


def history(cuts: list[int], begin: int = 0) -> list[HistoryRecord]:
    """The records, newest first, of rows consumed in requests that end at these steps."""
    records, at = [HistoryRecord("create", 1, begin, 0, b"", b"")], begin
    for end in cuts:
        rows, outputs = ROWS[at:end].tobytes(), OUTPUTS[at:end].tobytes()
        records.append(HistoryRecord("step", len(records) + 1, end, end - at, rows, outputs))
        at = end
    return records[::-1]


def found(at: int, count: int, records: list[HistoryRecord]) -> Past:
    past = Past(at, ROWS[at : at + count].tobytes(), WIDTH)
    assert any(past.take(record) for record in records)
    return past


@given(st.sets(st.integers(1, 11), max_size=6), st.integers(0, 11), st.integers(1, 12))
def test_rows_are_found_however_they_were_cut(cuts: set[int], at: int, count: int):
    count = min(count, 12 - at)
    past = found(at, count, history([*sorted(cuts), 12]))
    assert past.outputs == OUTPUTS[at : at + count].tobytes()
    ends = [*sorted(cuts), 12]
    assert past.revision == 2 + next(n for n, end in enumerate(ends) if end >= at + count)


def test_other_rows_at_the_same_step_are_refused_with_the_step():
    records = history([5, 12])
    changed = ROWS.copy()
    changed[6, 1] += 1
    past = Past(4, changed[4:8].tobytes(), WIDTH)
    with pytest.raises(RowsDiffer, match="steps 5 to 7"):
        [past.take(record) for record in records]


def test_rows_of_another_width_are_other_rows():
    past = Past(0, b"\0" * 4 * 2 * 12, 2)
    with pytest.raises(RowsDiffer):
        past.take(history([12])[0])


@pytest.mark.parametrize("kind", ["reset", "restore", "import", "create"])
def test_rows_from_before_the_session_was_put_elsewhere_are_not_answered(kind: str):
    past = Past(2, ROWS[2:4].tobytes(), WIDTH)
    with pytest.raises(PointNotKept, match=kind):
        past.take(HistoryRecord(kind, 9, 4, 0, b"", b""))


def test_a_migration_leaves_the_rows_before_it_where_they_are():
    records = [HistoryRecord("migrate", 9, 12, 0, b"", b""), *history([12])]
    assert found(3, 4, records).outputs == OUTPUTS[3:7].tobytes()
