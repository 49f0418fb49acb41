"""A key says which request came before, also after much has happened to its session."""

from __future__ import annotations

import pytest

from service.requests import Fork, Guard, Point, Snapshot
from tests.service.engine.driver import Driver, rows_of

KEY = Guard("k", b"body")


async def test_a_late_repeat_does_not_bring_back_a_session_that_was_ended(driver: Driver) -> None:
    begun = await driver.create(guard=KEY)
    await driver.delete(begun.id)

    assert (await driver.refused(driver.creation(guard=KEY))).code == "session_not_found"
    assert (await driver.create(begun.id)).incarnation != begun.incarnation  # asked for by name


async def test_a_late_repeat_does_not_bring_back_a_fork_that_was_ended(driver: Driver) -> None:
    await driver.create("s")
    fork = Fork("alice", "s", Point(), None, None, KEY)
    forked = await driver.call(fork)
    await driver.delete(forked.id)

    assert (await driver.refused(fork)).code == "session_not_found"


async def test_a_creation_is_known_by_its_key_when_its_reply_has_fallen_out(
    driver: Driver,
) -> None:
    begun = await driver.create(guard=KEY)
    kept = driver.engine.life.settings.kept_replies
    for number in range(kept + 1):
        await driver.stepped(begun.id, rows_of(number, 1), guard=Guard(f"k{number}", b"rows"))

    again = await driver.create(guard=KEY)

    assert (again.id, again.incarnation, again.step) == (begun.id, begun.incarnation, 0)
    assert (begun.replayed, again.replayed) == (False, True)
    other = driver.creation(guard=Guard("k", b"another body"))
    assert (await driver.refused(other)).code == "key_reused"


async def test_forks_and_snapshots_say_that_they_are_repeats(driver: Driver) -> None:
    await driver.create("s")
    for request in (
        Fork("alice", "s", Point(), None, None, KEY),
        Snapshot("alice", "s", "point", Guard("other", b"body")),
    ):
        assert [(await driver.call(request)).replayed for _ in range(2)] == [False, True]


async def test_a_key_of_a_step_is_no_key_of_a_snapshot(driver: Driver) -> None:
    await driver.create("s")
    await driver.stepped("s", rows_of(0, 1), guard=KEY)

    error = await driver.refused(Snapshot("alice", "s", "point", KEY))
    assert error.code == "key_reused"


@pytest.mark.parametrize("ahead", [1, 9998])
async def test_an_if_match_of_a_revision_that_the_store_has_lost_is_said_so(
    driver: Driver, ahead: int
) -> None:
    begun = await driver.create("s")
    lost = Guard(if_match=f"{begun.incarnation}-{begun.revision + ahead}")

    error = await driver.refused(driver.steps("s", rows_of(0, 1), guard=lost))

    assert error.code == "store_rolled_back"
    assert error.extra == {"expected": 1 + ahead, "got": 1}
    assert (await driver.describe("s")).step == 0
