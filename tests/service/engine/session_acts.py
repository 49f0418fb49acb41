"""What clients, time and operators may do to a world of sessions; `draw` decides how."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from service.requests import Point
from tests.service.engine import session_requests as ask
from tests.service.engine.session_model import Known
from tests.service.engine.session_world import GUARDS, NAMES, TENANTS, TTL_S, World, rows_of

Act = Callable[[World, Random], None]


def create(world: World, draw: Random) -> None:
    name = draw.choice([*NAMES, None]) if len(world.live) < 9 else NAMES[0]
    ttl_s = draw.choice([None, TTL_S / 2, TTL_S * 1000])
    version, keyed, overridden = draw.choice("12"), draw.random() < 0.5, draw.random() < 0.3
    ask.create(world, draw.choice(TENANTS), name, version, ttl_s, keyed, overridden)


def step(world: World, draw: Random) -> None:
    rows = rows_of(draw.randint(0, 999), draw.randint(1, 3))
    ask.step(world, chosen(world, draw), rows, draw.choice(GUARDS), draw.random() < 0.5)


def burst(world: World, draw: Random) -> None:
    ask.burst(world, draw.randint(0, 999), draw.randint(1, 3))


def reset(world: World, draw: Random) -> None:
    ask.reset(world, chosen(world, draw), draw.choice(GUARDS))


def restore(world: World, draw: Random) -> None:
    known = chosen(world, draw)
    ask.restore(world, known, past(known, draw), draw.choice(GUARDS))


def fork(world: World, draw: Random) -> None:
    known = chosen(world, draw)
    point = Point() if draw.random() < 0.3 else past(known, draw)
    ask.fork(world, known, draw.choice(NAMES), point, draw.choice(GUARDS))


def snapshot(world: World, draw: Random) -> None:
    ask.snapshot(
        world, chosen(world, draw), draw.choice(["red", "green", "blue"]), draw.choice(GUARDS)
    )


def move_a_state(world: World, draw: Random) -> None:
    one, other = chosen(world, draw), chosen(world, draw)
    ask.import_from(world, one, other, draw.random() < 0.5, draw.choice(GUARDS))


def migrate(world: World, draw: Random) -> None:
    ask.migrate(world, chosen(world, draw), draw.choice("112239"), draw.choice(GUARDS))


def delete(world: World, draw: Random) -> None:
    ask.delete(world, chosen(world, draw), draw.choice(("none", "match", "stale")))


def retry(world: World, draw: Random) -> None:
    if world.sent:
        # Mostly what is recent: a reply is kept for a while alone.
        at = draw.randint(0, len(world.sent) - 1)
        ask.retry(world, max(at, draw.randint(0, len(world.sent) - 1)), draw.random() < 0.3)


def pass_time(world: World, draw: Random) -> None:
    world.pass_time(draw.choice([1, TTL_S / 4, TTL_S / 2]), draw.random() < 0.5)


def spill(world: World, draw: Random) -> None:
    world.spill()


def checkpoint(world: World, draw: Random) -> None:
    world.checkpoint()


def restart(world: World, draw: Random) -> None:
    world.restart(draw.random() < 0.3)


def look(world: World, draw: Random) -> None:
    world.compare_all()


def chosen(world: World, draw: Random) -> Known:
    """One of the live sessions."""
    return draw.choice(list(world.live.values()))


def past(known: Known, draw: Random) -> Point:
    """A point that a session has, or just has not."""
    match draw.choice(("step", "revision", "snapshot")):
        case "step":
            most = max(step for entry in known.entries for step, _ in entry.stood)
            return Point(step=draw.randint(0, most + 1))
        case "revision":
            return Point(revision=draw.randint(1, known.revision + 1))
        case _:
            return Point(snapshot=draw.choice(["none", *known.snapshots]))


ANY_TIME: tuple[Act, ...] = (create, retry, pass_time, spill, checkpoint, restart, look)
WITH_SESSIONS: tuple[Act, ...] = (
    step, burst, reset, restore, fork, snapshot, move_a_state, migrate, delete,
)  # fmt: skip
