"""`ntm session` as it is typed: its output, its errors, its exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import safetensors.numpy

from service.terminal.command import ACTIONS, parser
from tests.service.serving import Server, environ, until
from tests.service.stream.socket import rows_of
from tests.service.terminal.conftest import Ntm, started

ROW = "[0, 1, 0, 1, 1, 0, 1, 0, 0]"


@pytest.fixture
def session_id(client: httpx.Client) -> Iterator[str]:
    """A session of the copy model."""
    made = client.post("/v1/models/copy/sessions").json()["id"]
    yield made
    client.delete(f"/v1/sessions/{made}")


def test_a_session_from_its_beginning_to_its_end(ntm: Ntm, client: httpx.Client, tmp_path: Path):
    told = ntm("create", "copy", "--id", "typed", "--ttl", "3600")
    assert told.returncode == 0 and told.stdout.startswith("typed\n"), told.stderr
    assert "copy 1" in told.stdout and "60 min" in told.stdout
    told = ntm("step", "typed", f"[{ROW}, {ROW}]")
    assert re.match(r"1  .* 0\.\d{3}", told.stdout) and "step 2  revision 2" in told.stdout
    assert "typed" in ntm("list").stdout
    assert "128 x 20" in ntm("memory", "typed").stdout
    assert "forked from  typed" in ntm("fork", "typed", "--id", "typed-2", "--step", "1").stdout
    file = tmp_path / "state.safetensors"
    assert f"{file}: 12736 bytes" in ntm("export", "typed", "-o", str(file)).stdout
    assert "typed-2: at step 2, revision 2" in ntm("import", "typed-2", str(file)).stdout
    assert ntm("delete", "typed", "typed-2").stdout == "typed: deleted\ntyped-2: deleted\n"
    assert client.get("/v1/sessions/typed").status_code == 404


def test_with_json_each_prints_one_document(ntm: Ntm, client: httpx.Client, tmp_path: Path):
    def document(*argv: str, **options: str) -> dict:
        told = ntm(*argv, "--json", **options)
        assert told.returncode == 0 and told.stdout.count("\n") == 1, told
        return json.loads(told.stdout)

    made = document("create", "copy", "--id", "scripted")
    assert made == client.get("/v1/sessions/scripted").json()
    done = document("step", "scripted", ROW, "--trace")
    assert (done["step"], done["revision"], done["replayed"]) == (1, 2, False)
    assert np.array(done["outputs"]).shape == (1, 8)
    assert [tensor["name"] for tensor in done["trace"]] == ["read_weights", "write_weights"]
    memory = document("memory", "scripted", "--name", "memory")
    wanted = client.get("/v1/sessions/scripted/memory").json()
    assert memory == wanted | {"state": wanted["state"][:1]}
    assert "scripted" in [info["id"] for info in document("list", "--model", "copy")["sessions"]]
    assert document("fork", "scripted", "--id", "scripted-2")["forked_from"] == "scripted"
    file = str(tmp_path / "f")
    assert document("export", "scripted", "--output", file) == {"file": file, "bytes": 12736}
    assert document("import", "scripted-2", file) == {"step": 1, "revision": 2, "version": "1"}
    told = ntm("watch", "scripted", "--after", f"{made['incarnation']}-1", "--count", "1", "--json")
    event = json.loads(told.stdout)
    assert (event["event"], event["id"]) == ("stepped", f"{made['incarnation']}-2")
    assert event["data"]["step"] == 1
    assert document("delete", "scripted", "scripted-2") == {"deleted": ["scripted", "scripted-2"]}


def test_rows_come_from_an_argument_a_file_or_standard_input(
    ntm: Ntm, session_id: str, tmp_path: Path
):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"inputs": rows_of(1, 3).tolist()}))
    for number, (argv, stdin) in enumerate([
        ((f"[{ROW}, {ROW}, {ROW}]",), ""),
        (("--trace", f"[{ROW}, {ROW}, {ROW}]"), ""),
        (("--file", str(file)), ""),
        (("--file", "-"), file.read_text()),
        (("-",), file.read_text()),
        ((), f"[{ROW}, {ROW}, {ROW}]"),
    ], 1):  # fmt: skip
        told = ntm("step", session_id, *argv, stdin=stdin)
        assert f"step {3 * number}  revision {number + 1}" in told.stdout, told.stderr


def test_a_state_goes_through_pipes(ntm: Ntm, session_id: str, client: httpx.Client):
    ntm("step", session_id, ROW)
    data = ntm("export", session_id, "-o", "-").stdout.encode("utf-8", "surrogateescape")
    told = safetensors.numpy.load(client.get(f"/v1/sessions/{session_id}/state").content)
    taken = safetensors.numpy.load(data)
    assert told.keys() == taken.keys()
    assert all(np.array_equal(told[name], taken[name]) for name in told)
    assert "step 1, revision 3" in ntm("import", session_id, "-", stdin=data).stdout


def test_the_same_idempotency_key_steps_once(ntm: Ntm, session_id: str):
    key = ("--idempotency-key", "mine")
    first = ntm("step", session_id, ROW, *key).stdout
    again = ntm("step", session_id, ROW, *key).stdout
    assert "nothing was stepped again" in again and "step 1  revision 2" in again
    assert again.splitlines()[0] == first.splitlines()[0]


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("memory", "nobody"), 1, r"expected the id .*'nobody' \(session_not_found, request \S+\)"),
        (("step", "nobody", ROW), 1, r".*\(session_not_found, request \S+\)"),
        (("create", "nothing"), 1, r".*\(model_not_found, request \S+\)"),
        (("create", "copy", "--id", "a b"), 1, r".*\(invalid_request, request \S+\)"),
        (("list", "--url", "http://127.0.0.1:1"), 1, r"no answer from http://127.0.0.1:1: .+"),
        (("list", "--url", "nonsense"), 2, r"base_url: expected .* got 'nonsense'"),
        (("step", "x", "[[1, 2"), 2, r"ROWS: expected rows as JSON: .*"),
        (("step", "x", '[["a"]]'), 2, r"rows: expected numbers.*"),
        (("step", "x", "--file", "/nowhere/rows"), 1, r".*No such file.*"),
        (("import", "x", "/nowhere/state"), 1, r".*No such file.*"),
        (("watch", "x", "--count", "0"), 2, r"--count: expected 1 or more, got 0"),
        (("list", "--ca", "/nowhere/ca"), 2, r"verify: expected a file of certificates.*"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_a_status(ntm: Ntm, argv: tuple[str, ...], status: int, said: str):
    told = ntm(*argv)
    assert (told.returncode, told.stdout) == (status, "")
    assert re.fullmatch(rf"ntm session: {said}\n", told.stderr), told.stderr


@pytest.mark.parametrize(
    "argv",
    [(), ("dance",), ("step",), ("step", "x", ROW, "more"),
     ("fork", "x", "--step", "1", "--revision", "2"), ("list", "--bogus"),
     ("step", "x", ROW, "--file", "f")],
)  # fmt: skip
def test_what_is_typed_wrong_gets_the_usage_and_2(ntm: Ntm, argv: tuple[str, ...]):
    told = ntm(*argv)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("usage: ntm session")


def test_a_tensor_that_there_is_not_is_named(ntm: Ntm, session_id: str):
    told = ntm("memory", session_id, "--name", "usage")
    assert told.returncode == 2 and "expected one of memory, read_weights" in told.stderr


def test_ctrl_c_ends_a_watch_cleanly(server: Server, client: httpx.Client, session_id: str):
    process = started("watch", session_id, NTM_URL=server.url)
    lines: list[str] = []
    assert process.stdout and process.stderr
    output = process.stdout
    reading = threading.Thread(target=lambda: lines.extend(iter(output.readline, "")))
    reading.start()
    path = f"/v1/sessions/{session_id}"

    def told() -> bool:
        client.post(f"{path}/steps", json={"inputs": [json.loads(ROW)]})
        return bool(lines)

    until(told, 60)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    reading.join(30)
    assert re.match(r"\d\d:\d\d:\d\d  stepped +step \d+  revision \d+  1 row$", lines[0])
    assert process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()


def test_a_watch_ends_with_its_session(server: Server, client: httpx.Client):
    made = client.post("/v1/models/copy/sessions").json()
    after = ("--after", f"{made['incarnation']}-1")
    process = started("watch", made["id"], *after, NTM_URL=server.url)
    client.post(f"/v1/sessions/{made['id']}/reset")
    first = process.stdout.readline() if process.stdout else ""
    client.delete(f"/v1/sessions/{made['id']}")
    rest, errors = process.communicate(timeout=60)
    assert "reset" in first and "deleted" in rest and errors == ""
    assert process.returncode == 0


def test_a_reader_who_leaves_is_no_traceback(server: Server, session_id: str):
    process = started("memory", session_id, NTM_URL=server.url)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def on_terminal(*argv: str, **settings: str) -> str:
    """What `ntm session` prints where it sees a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "session", *argv],
        env=environ(COLUMNS="100", PYTHONIOENCODING="utf-8", **settings),
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    told = b""
    try:
        while piece := os.read(ours, 65536):
            told += piece
    except OSError:  # how a terminal says that the other end has left
        pass
    os.close(ours)
    assert process.wait(60) == 0, told
    return told.decode()


def test_a_terminal_gets_colours_and_what_is_none_gets_shades(
    server: Server, ntm: Ntm, session_id: str
):
    ntm("step", session_id, ROW)
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    settings = kept | {"NTM_URL": server.url, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    coloured = on_terminal("memory", session_id, **settings)
    assert "▀" in coloured and re.search(r"\x1b\[38;2;\d+;\d+;\d+", coloured)
    for plain in (
        on_terminal("memory", session_id, **settings, NO_COLOR="1"),
        on_terminal("memory", session_id, **(settings | {"TERM": "dumb"})),
        ntm("memory", session_id).stdout,
    ):
        assert "▀" not in plain and "38;2" not in plain
        assert "from 0 to" in plain and re.search(r"read_weights \d\.\d\d at \d+", plain)
    piped = ntm("memory", session_id, PYTHONIOENCODING="ascii")
    assert piped.returncode == 0 and piped.stdout.isascii(), piped.stderr


def test_lines_fit_the_terminal(server: Server, session_id: str, ntm: Ntm):
    for columns in (60, 80, 200):
        told = ntm("memory", session_id, COLUMNS=str(columns)).stdout
        shown = told.partition("tensor ")[0].splitlines()  # the table is as wide as its words
        assert len(shown) > 20 and all(len(line) <= columns for line in shown[3:])


def test_every_action_is_one_that_there_is():
    from service.terminal import actions

    for name, action in ACTIONS.items():
        assert callable(getattr(actions, action.run)), name
    assert parser().parse_args(["list"]).json is False


def test_nothing_heavy_is_imported_for_help_and_by_serve():
    code = (
        "import sys, service.cli, service.supervisor\n"
        "import service.terminal.command as c; c.parser()\n"
        "print(sorted({'rich', 'httpx', 'torch', 'shtab'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
