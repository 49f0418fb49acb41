"""A Redis that asks for a password, which lies in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store.redis import open_redis
from service.store.store import Committed, StoreUnavailable
from tests.service.store.redis_server import RedisServer, running
from tests.service.store.redis_store import KEY, PATIENT_S, TIMEOUT_S, created, step

# As deploy/compose/setup.sh writes them: the store's keys, and nothing that is an operator's. The
# default user keeps its rights, by which Redis reads transactions from its log, and lets nobody in.
USERS = """\
user default off ~* &* +@all
user ntm on >first ~ntm:* &ntm:* +@all -@admin -@dangerous +info +config|get
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RedisServer]:
    """One whose user `ntm` has the password `first`."""
    users = tmp_path / "users.acl"
    users.write_text(USERS)
    with running(tmp_path / "redis", aclfile=str(users)) as server:
        yield server


def url_of(server: RedisServer) -> str:
    return f"redis://ntm@127.0.0.1:{server.port}/0"


async def test_the_files_password_lets_the_urls_user_in(guarded: RedisServer, tmp_path: Path):
    password = tmp_path / "password"
    password.write_text("first\n")
    store = await open_redis(url_of(guarded), timeout_s=PATIENT_S, password_file=str(password))
    row = await created(store)
    assert await store.row(KEY) == row
    assert await store.rows("acme", None, 10, None) == [row]
    assert await store.count(("copy", "1")) == 1
    await store.close()


async def test_a_wrong_password_and_a_missing_file_are_a_store_that_is_away(
    guarded: RedisServer, tmp_path: Path
):
    password = tmp_path / "password"
    with pytest.raises(StoreUnavailable, match="No such file"):
        await open_redis(url_of(guarded), timeout_s=TIMEOUT_S, password_file=str(password))
    password.write_text("second\n")
    with pytest.raises(StoreUnavailable, match="(?i)invalid username-password pair"):
        await open_redis(url_of(guarded), timeout_s=TIMEOUT_S, password_file=str(password))


async def test_a_password_that_is_changed_is_read_for_the_next_connection(
    guarded: RedisServer, tmp_path: Path
):
    password = tmp_path / "password"
    password.write_text("first")
    store = await open_redis(url_of(guarded), timeout_s=PATIENT_S, password_file=str(password))
    row = await created(store)
    guarded.kill()
    users = tmp_path / "users.acl"
    users.write_text(users.read_text().replace(">first", ">second"))
    password.write_text("second")
    guarded.start()
    assert await store.row(KEY) == row  # a read, which a broken connection does not fail
    assert await store.commit([step(row)]) == [Committed()]
    await store.close()


async def test_a_password_in_the_url_beside_the_file_is_refused():
    with pytest.raises(ValueError, match="NTM_STORE without a password"):
        await open_redis("redis://:secret@127.0.0.1:1/0", password_file="/nonexistent")
