"""What a plain step asks of the engine, by route: the half of hot.py that knows the protocols.

Each route calls what its handler calls, so that a request means the same on both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from service import body, depth, names, steps
from service.body import Head
from service.errors import NtmError
from service.front_state import Answer, FrontState
from service.keys import Identity
from service.requests import Request
from service.results import StepsResult
from service.v2 import binary, bodies
from service.v2.infer import STEPS, SequenceStep, sequence_step

Match = re.Match[bytes]


class Asked(msgspec.Struct, frozen=True):
    """What a request asks of the engine, and what its result and its failure become."""

    request: Request
    result: msgspec.msgpack.Decoder[Any]
    answer: Callable[[Any], Answer]
    failed: Callable[[NtmError], NtmError] | None = None
    timeout_s: float | None = None


Ask = Callable[[FrontState, Callable[[], Identity], Head, Match, bytes], Asked | None]


class Route(NamedTuple):
    """A path, and how its requests are read; the identity is asked for where it is needed first.

    `ask` returns None for what is Litestar's after all, and has asked for no identity then.
    """

    template: str
    pattern: re.Pattern[bytes]
    ask: Ask


def _steps(
    front: FrontState, admit: Callable[[], Identity], head: Head, path: Match, data: bytes
) -> Asked:
    who = admit()
    session = names.session(path["session_id"].decode("ascii"))
    request = steps.call(
        front, who.tenant, session, head, steps.BODY.whole(head, data, front.settings)
    )
    return Asked(request, steps.RESULT, partial(steps.answer, head))


def _infer(
    front: FrontState, admit: Callable[[], Identity], head: Head, path: Match, data: bytes
) -> Asked | None:
    """What is no sequence's row, or is wrong in any way, is Litestar's."""
    if not front.gate.knows(head):  # nobody's body is read before his key is
        return None
    try:
        header = binary.header_of(head.get(LENGTH), len(data))
        if header == 0 or b"content-encoding" in head:
            return None
        body.check_size(data, front.settings.max_body_bytes)
        depth.check(data if header is None else data[:header], front.settings.max_depth)
        model, version = path["model"].decode("ascii"), path["version"]
        named = version.decode("ascii") or None
        wanted = binary.read(model, named, data, header)
        step = sequence_step(front, wanted.request)
    except NtmError:
        return None
    if step is None:
        return None
    request = step.call(admit().tenant)
    answer = partial(_inferred, head, step, wanted.binary)
    return Asked(request, STEPS, answer, step.failed, step.timeout_s)


def _inferred(head: Head, step: SequenceStep, raw: bool, done: StepsResult) -> Answer:
    return bodies.answer(head, step.answer(done), raw)


def _route(template: str, pattern: bytes, ask: Ask) -> Route:
    return Route(template.replace(":str", ""), re.compile(pattern), ask)


NAME = rb"[^/?#%\x80-\xff]+"
LENGTH = binary.HEADER.lower().encode()
STEPS_OF = rb"/v1/sessions/(?P<session_id>%b)/steps" % NAME
OF_MODEL = rb"/v2/models/(?P<model>%b)(?P<version>)/infer" % NAME
OF_VERSION = rb"/v2/models/(?P<model>%b)/versions/(?P<version>%b)/infer" % (NAME, NAME)
ROUTES = (
    _route(steps.PATH, STEPS_OF, _steps),
    _route("/v2/models/{model}/infer", OF_MODEL, _infer),
    _route("/v2/models/{model}/versions/{version}/infer", OF_VERSION, _infer),
)
