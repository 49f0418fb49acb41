"""An inference request's answer as it goes over HTTP: its form, its headers, compressed or not."""

from __future__ import annotations

from service import body
from service.front_state import Answer
from service.v2 import binary, compression
from service.v2.infer import InferAnswer

OCTETS = b"application/octet-stream"


def answer(head: body.Head, inferred: InferAnswer, raw: bool) -> Answer:
    """The answer to a request with these headers. raw: its tensors behind the JSON."""
    data, header = binary.write(inferred, raw)
    headers = {"vary": "accept-encoding"}
    if header is not None:
        headers[binary.HEADER.lower()] = str(header)
    coding = compression.accepted(head.get(b"accept-encoding", b"").decode("latin-1"))
    if coding is not None:
        headers["content-encoding"] = coding
        data = compression.compress(data, coding)
    return Answer(data, body.JSON if header is None else OCTETS, 200, headers)
