"""Unique keys, ids, paths and methods by the thousand: nothing is kept for each of them."""

import json
import os
import re
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx

from tests.security.wire import exchange, request
from tests.service.serving import Server, memory_of

KEYS = 3_000  # each is a commit
KEPT = 16  # NTM_KEPT_REPLIES
AT_ONCE = 50  # requests that travel together
ROW = json.dumps({"inputs": [[0, 1, 0, 1, 1, 0, 1, 0, 0]]}).encode()


def step(session: str, key: str, last: bool) -> bytes:
    """A step with this key, as bytes."""
    return (
        f"POST {session}/steps HTTP/1.1\r\nhost: localhost\r\nidempotency-key: {key}\r\n"
        f"content-length: {len(ROW)}\r\nconnection: {'close' if last else 'keep-alive'}\r\n\r\n"
    ).encode() + ROW


def series(client: httpx.Client) -> int:
    """How many series the metrics have."""
    return sum(1 for line in client.get("/metrics").text.splitlines() if line[:1] != "#")


def test_thousands_of_keys_of_a_session_leave_as_many_replies_as_the_setting_says(
    attacked: Server, target: httpx.Client, session: str, folder: Path
):
    processes = attacked.children("service.")
    before = [memory_of(pid) for pid in processes]

    def flood(begin: int) -> None:
        for at in range(begin, begin + KEYS // 4, AT_ONCE):
            keys = range(at, at + AT_ONCE)
            sent = b"".join(step(session, f"k{key}", key == keys[-1]) for key in keys)
            assert exchange(attacked, sent, 60).count(b"HTTP/1.1 200 ") == AT_ONCE

    threads = [threading.Thread(target=flood, args=(at * KEYS // 4,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.get(session).json()["step"] == KEYS
    again = target.post(f"{session}/steps", content=ROW, headers={"idempotency-key": "k0"})
    assert "idempotency-replayed" not in again.headers and again.json()["step"] == KEYS + 1
    for key in range(KEPT + 1):  # the last of them are known, as far as the setting says
        target.post(f"{session}/steps", content=ROW, headers={"idempotency-key": f"new{key}"})
    newest = target.post(f"{session}/steps", content=ROW, headers={"idempotency-key": "new1"})
    oldest = target.post(f"{session}/steps", content=ROW, headers={"idempotency-key": "new0"})
    assert newest.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in oldest.headers
    for pid, held in zip(processes, before, strict=True):
        assert memory_of(pid) - held < 32_000_000
    history = target.get(f"{session}/history", params={"limit": 1000, "cursor": 1 << 40}).json()
    assert len(history["history"]) <= 1000  # NTM_HISTORY_ROWS


def test_keys_of_creations_that_are_refused_leave_nothing(target: httpx.Client, folder: Path):
    size = database_bytes(folder)
    for key in range(300):
        headers = {"idempotency-key": f"refused-{key}"}
        answer = target.post("/v1/models/copy/sessions", json={"version": "9"}, headers=headers)
        assert answer.status_code == 404
    assert database_bytes(folder) - size < 1_000_000


def database_bytes(folder: Path) -> int:
    return sum(os.stat(path).st_size for path in folder.glob("sessions.db*"))


def test_metrics_do_not_grow_with_ids_methods_paths_or_names(
    attacked: Server, target: httpx.Client
):
    def one(at: int) -> None:
        target.get(f"/v1/sessions/id{at}", headers={"x-request-id": f"request-{at}"})
        target.get(f"/nowhere/{at}")
        target.request(f"M{at:X}" if at % 2 else "PATCH", f"/v1/models/m{at}")
        target.post(f"/v2/models/m{at}/infer", json={"inputs": [], "id": f"{at}"})
        target.get(f"/v1/models/copy?version=v{at}")
        target.get(f"/v1/sessions?model=m{at}")
        target.post("/v1/models/copy/sessions", headers={"content-type": f"text/{at}"})
        exchange(attacked, request("GET", f"/v1/sessions/x{at}/events", f"last-event-id: {at}"))

    one(0)
    one(1)
    begun = series(target)
    for at in range(2, 60):
        one(at)
    assert series(target) == begun
    assert not re.search(r"id5\d|request-5|nowhere|\bm5\d\b", target.get("/metrics").text)


def test_snapshots_and_sessions_end_at_their_settings(target: httpx.Client, session: str):
    found = [
        target.post(f"{session}/snapshots", json={"name": f"s{at}"}).status_code for at in range(66)
    ]
    assert found == [201] * 64 + [429] * 2


def test_sessions_that_ended_leave_their_rows_nowhere(
    attacked: Server, target: httpx.Client, folder: Path
):
    marker = "ended-and-gone"
    for _ in range(20):
        assert target.post("/v1/models/copy/sessions", json={"id": marker}).status_code == 201
        assert target.delete(f"/v1/sessions/{marker}").status_code == 204
    deadline = time.monotonic() + 30  # the file shows it when the open transaction ends
    while (found := rows_of(marker, folder))[0] and time.monotonic() < deadline:
        assert target.get("/health/live").status_code == 200
    assert found[0] == 0 and found[1] <= 1


def rows_of(session: str, folder: Path) -> tuple[int, int]:
    """What the file, read beside the server, has of this id: sessions and tombstones."""
    with closing(sqlite3.connect(f"file:{folder}/sessions.db?mode=ro", uri=True)) as database:
        query = "SELECT (SELECT count(*) FROM sessions WHERE id = ?1), "
        query += "(SELECT count(*) FROM tombstones WHERE id = ?1)"
        return database.execute(query, [session]).fetchone()
