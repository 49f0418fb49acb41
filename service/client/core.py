"""The client without its I/O: what both shells, `Client` and `AsyncClient`, run.

Client.predict(...)       -> Core.predict(...) -> a Flow -> run by blocking httpx
AsyncClient.predict(...)  -> the same          -> the same -> run by awaited httpx
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar
from urllib.parse import urlsplit

import msgspec
from numpy.typing import ArrayLike

from service.client import calls, codec
from service.client.answers import Floats, Model, SessionInfo
from service.client.backoff import Backoff, Retries
from service.client.codec import Rows
from service.client.errors import ApiError, Misuse, NoAnswer, NotFound
from service.client.exchange import KEY, Call, Flow, Reply, exchange

URL_VARIABLE, KEY_VARIABLE = "NTM_URL", "NTM_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 30.0
T = TypeVar("T")


class ReadOptions(TypedDict, total=False):
    """Of any call. timeout: seconds a try may take; retries: over the client's."""

    timeout: float
    retries: Retries


class Options(ReadOptions, total=False):
    """Of a mutation. key: the Idempotency-Key, to ask again after an unknown outcome; if_match:
    an ETag over the last known one, `"*"` for whatever revision."""

    key: str
    if_match: str


class Config(msgspec.Struct, frozen=True):
    """What every call has from its client."""

    url: str  # without a slash at its end
    api_key: str | None
    timeout_s: float
    retries: Retries
    clock: Callable[[], float]
    dice: Callable[[], float]

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        named = {"user-agent": "ntm-client"}
        return named if not self.api_key else named | {"authorization": f"Bearer {self.api_key}"}


def configure(
    base_url: str | None,
    api_key: str | None,
    timeout: float,
    retries: Retries | None,
    clock: Callable[[], float] = time.monotonic,
    dice: Callable[[], float] = random.random,
) -> Config:
    """A client's configuration; URL and key from the environment where not given. Raises Misuse."""
    url = (base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
    key = api_key if api_key is not None else os.environ.get(KEY_VARIABLE)
    if timeout <= 0:
        raise Misuse(f"timeout: expected seconds above 0, got {timeout}")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise Misuse("api_key: expected visible ASCII characters")
    return Config(_checked(url), key or None, timeout, retries or Retries(), clock, dice)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    else:
        fits = fits and not (parts.query or parts.fragment)
    if not fits:
        raise Misuse(f"base_url: expected one like {DEFAULT_URL}, got {url!r}")
    return url


class Core:
    """Calls that concern no session that is held, or no one session."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def backoff(self, retries: Retries | None = None) -> Backoff:
        """The tries of one request."""
        return Backoff(retries or self.config.retries, self.config.clock, self.config.dice)

    def ask(
        self, call: Call, timeout: float | None = None, retries: Retries | None = None
    ) -> Flow[Reply]:
        """The answer to a call. Raises ApiError and NoAnswer."""
        return exchange(call, self.backoff(retries), timeout or self.config.timeout_s)

    def mutate(
        self,
        call: Call,
        match: str | None,
        key: str | None = None,
        if_match: str | None = None,
        **options: Any,
    ) -> Flow[Reply]:
        """A mutation, under a key of its own and at the revision that is known."""
        named = {KEY: key or secrets.token_urlsafe(18)}
        if tag := if_match or match:
            named["if-match"] = tag
        call = msgspec.structs.replace(call, headers=call.headers | named)
        return (yield from self.ask(call, **options))

    def create(
        self,
        model: str,
        id: str | None = None,
        version: str | None = None,
        idle_ttl_s: float | None = None,
        state: Mapping[str, ArrayLike] | None = None,
        **options: Any,
    ) -> Flow[SessionInfo]:
        """Begin a session."""
        call = calls.create(model, id, version, idle_ttl_s, state)
        return codec.decode(SessionInfo, (yield from self.mutate(call, None, **options)))

    def info(self, session: str, **options: Any) -> Flow[SessionInfo]:
        """Where a session stands."""
        call = calls.get("sessions", session)
        return codec.decode(SessionInfo, (yield from self.ask(call, **options)))

    def delete(self, session: str, match: str, **options: Any) -> Flow[None]:
        """End a session; that an earlier try of this has ended it is no error."""
        call = calls.delete(session)
        headers = {"if-match": options.pop("if_match", None) or match}
        options.pop("key", None)  # a DELETE takes none: its repeat finds nothing to end
        try:
            yield from self.ask(msgspec.structs.replace(call, headers=headers), **options)
        except NotFound as error:
            if not error.maybe_done:
                raise

    def sessions(
        self, model: str | None, page: int, cursor: str | None, **options: Any
    ) -> Flow[calls.SessionPage]:
        """A page of sessions in order of id."""
        call = calls.get("sessions", limit=page, cursor=cursor, model=model)
        return codec.decode(calls.SessionPage, (yield from self.ask(call, **options)))

    def models(self, **options: Any) -> Flow[list[Model]]:
        """Every loaded model."""
        return calls.read_models((yield from self.ask(calls.get("models"), **options)))

    def model(self, name: str, version: str | None, **options: Any) -> Flow[dict[str, Any]]:
        """A model's manifest and what runs it."""
        call = calls.get("models", name, version=version)
        return codec.decode(dict, (yield from self.ask(call, **options)))

    def predict(self, model: str, rows: Rows, version: str | None, **options: Any) -> Flow[Floats]:
        """A sequence from fresh state, outputs (T, Y)."""
        call = calls.predict(model, rows, version)
        return calls.read_outputs((yield from self.ask(call, **options)))

    def tenant(self, **options: Any) -> Flow[dict[str, Any]]:
        """Who the key is, and what it may."""
        return codec.decode(dict, (yield from self.ask(calls.get("tenant"), **options)))

    def ready(self, timeout: float | None = None) -> Flow[bool]:
        """Whether all is loaded. One try: False also where nothing answers."""
        try:
            yield from self.ask(calls.ready(), timeout, Retries(0))
        except (ApiError, NoAnswer):
            return False
        return True
