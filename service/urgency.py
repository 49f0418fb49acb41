"""How urgent a request is: 0 to 7, as RFC 9218 has it, of which 0 is served first.

It orders a tenant's own requests. Which tenant's turn it is, it does not change.
"""

from __future__ import annotations

import re
from typing import Any

from service.body import Head
from service.errors import InvalidRequest
from service.requests import URGENCY

LEAST = 7
HEADER = re.compile(rb"(?:^|[,\s])u=([0-7])(?=$|[,;\s])")


def of(head: Head) -> int:
    """What `Priority: u=N` says. What cannot be read counts as not said (RFC 9218, 4), since
    browsers say things of their own there."""
    value = head.get(b"priority")
    if value is None:
        return URGENCY
    found = HEADER.search(value)
    return URGENCY if found is None else int(found[1])


def of_parameter(parameters: dict[str, Any]) -> int:
    """What V2's `priority` says: 1 is the first to be served, 0 leaves it open.

    Raises InvalidRequest.
    """
    value = parameters.get("priority", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        expected = "an integer of 0 or more"
        raise InvalidRequest(
            f"priority: expected {expected}, got {value!r}", expected=expected, got=value
        )
    return min(value - 1, LEAST) if value else URGENCY
