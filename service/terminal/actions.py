"""What each action of `ntm session` asks the client, and what it shows of the answer."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from service.client import Client, Misuse, Retries
from service.client.codec import floats_of
from service.terminal import events, memory_view, tables
from service.terminal.output import Output

# Somebody waits: an engine that restarts is waited for, a server that is not there is not.
PATIENCE = Retries(count=5, total_s=30.0)
Action = Callable[[Client, Namespace, Output], None]


def run(action: Action, given: Namespace) -> None:
    """Do it, with a client of the server that was named. Raises NtmClientError and OSError."""
    output = Output(as_json=given.json)
    verify = given.ca if given.ca else True
    with Client(
        given.url, given.key, timeout=given.timeout, retries=PATIENCE, verify=verify
    ) as client:
        action(client, given, output)


def create(client: Client, given: Namespace, output: Output) -> None:
    """Begin a session."""
    session = client.session(
        given.model, id=given.id, version=given.version, idle_ttl_s=given.ttl, keep=True
    )
    info = session.info()
    output.show(info, lambda: tables.session(info))


def list_sessions(client: Client, given: Namespace, output: Output) -> None:
    """All of them."""
    found = list(client.sessions(given.model))
    output.show({"sessions": found}, lambda: tables.sessions(found))


def step(client: Client, given: Namespace, output: Output) -> None:
    """Rows in, rows out."""
    rows = floats_of(_rows(given), "rows")
    key: dict[str, Any] = {"key": given.idempotency_key} if given.idempotency_key else {}
    done = client.open(given.session).step(rows, trace=given.trace, **key)
    said: dict[str, Any] = {
        "outputs": done.outputs,
        "step": done.step,
        "revision": done.revision,
        "replayed": done.replayed,
    }
    if done.trace is not None:
        said["trace"] = list(done.trace.values())
    output.show(said, lambda: tables.stepped(done, output))


def memory(client: Client, given: Namespace, output: Output) -> None:
    """Its state: matrices as heat maps, weights as bars, the rest as numbers."""
    session = client.open(given.session)
    found = session.memory()
    wanted = given.name or list(found.tensors)
    for name in wanted:
        if name not in found.tensors:
            raise Misuse(f"--name: expected one of {', '.join(found.tensors)}, got {name!r}")
    tensors = [found.tensors[name] for name in wanted]
    said = {"step": found.step, "revision": found.revision, "state": tensors}
    title = (session.id, f"{session.model} {session.version}", found.step, found.revision)
    output.show(said, lambda: memory_view.of(title, tensors, bool(given.name), output))


def fork(client: Client, given: Namespace, output: Output) -> None:
    """A new session from this one."""
    made = client.open(given.session).fork(
        id=given.id,
        idle_ttl_s=given.ttl,
        step=given.step,
        revision=given.revision,
        snapshot=given.snapshot,
        keep=True,
    )
    info = made.info()
    output.show(info, lambda: tables.session(info))


def watch(client: Client, given: Namespace, output: Output) -> None:
    """Its events, a line each."""
    include = tuple(part.strip() for part in given.include.split(",") if part.strip())
    after, left = given.after, given.count
    if left is not None and left < 1:
        raise Misuse(f"--count: expected 1 or more, got {left}")
    session = client.open(given.session)
    for event in session.events(include=include, after=after, retries=Retries()):
        said = {"event": event.name, "id": event.id, "data": event.data}
        output.show(said, lambda event=event: events.line(event, output))
        if left is not None and (left := left - 1) == 0:
            return


def export_state(client: Client, given: Namespace, output: Output) -> None:
    """Its state into a file."""
    session = client.open(given.session)
    data = session.export_state()
    if given.output == "-":
        sys.stdout.buffer.write(data)
        return
    path = Path(given.output or f"{session.id}.safetensors")
    path.write_bytes(data)
    said = {"file": str(path), "bytes": len(data)}
    output.show(said, lambda: [f"{path}: {len(data)} bytes"])


def import_state(client: Client, given: Namespace, output: Output) -> None:
    """A file into its state."""
    data = sys.stdin.buffer.read() if given.file == "-" else Path(given.file).read_bytes()
    moved = client.open(given.session).import_state(data)
    told = f"{given.session}: at step {moved.step}, revision {moved.revision}"
    output.show(moved, lambda: [told])


def delete(client: Client, given: Namespace, output: Output) -> None:
    """End them, wherever they stand. Those before one that cannot be ended are gone."""
    for session in given.sessions:
        client.run(client.core.delete(session, "*"))
    output.show(
        {"deleted": given.sessions}, lambda: [f"{name}: deleted" for name in given.sessions]
    )


def _rows(given: Namespace) -> Any:
    """The rows of an argument, a file or standard input. Raises Misuse for what is no JSON."""
    if given.rows not in (None, "-"):
        text, where = given.rows, "ROWS"
    elif given.file not in (None, "-"):
        text, where = Path(given.file).read_bytes(), given.file
    else:
        text, where = sys.stdin.buffer.read(), "standard input"
    try:
        said = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Misuse(f"{where}: expected rows as JSON: {error}") from None
    return said["inputs"] if isinstance(said, dict) and "inputs" in said else said
