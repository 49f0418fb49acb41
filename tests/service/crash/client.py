"""A client that retries until it is told, and a model of where its session must stand."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from typing import Any, NamedTuple

import httpx
import numpy as np

from tests.service.crash.reference import Place, Versions

PATIENCE_S = 120.0  # for one request, over as many tries as it takes
RETRIED = (429, 503, 504)
SNAPSHOTS = 5  # the most a client keeps
HISTORY_ROWS = 100  # what the server keeps
PAST = 80  # of them, what a client goes back to


class Stood(NamedTuple):
    """Where the session stood once."""

    revision: int
    place: Place


class Client:
    """One session and all that was acknowledged of it. `seen` counts what happened."""

    def __init__(
        self, number: int, http: httpx.AsyncClient, versions: Versions, seen: Counter[str]
    ) -> None:
        self._http, self._versions, self._seen = http, versions, seen
        self._random = random.Random(number)
        self._keys = 0
        self.name = f"client-{number}"
        self.path, self._etag, self._version = "", "", "1"
        self._revision, self._place = 1, versions.initial("1")
        self._past = deque[Stood](maxlen=PAST)
        self._snapshots: dict[str, Stood] = {}

    async def live(self, stop: asyncio.Event) -> None:
        """Begin a session, and do this and that with it until told to stop."""
        created = await self._post("/v1/models/copy/sessions", {"version": self._version}, 201)
        self._moved_to(created)
        weights = {
            self._steps: 70, self._restore: 8, self._migrate: 6, self._snapshot: 6, self._fork: 5,
            self._reset: 2,
        }  # fmt: skip
        while not stop.is_set():
            await self._random.choices(list(weights), list(weights.values()))[0]()

    async def compare(self) -> None:
        """The session must stand where it was acknowledged to stand, to the last bit."""
        info = (await self._request("GET", self.path, None, {}, 200)).json()
        stands = (info["step"], info["revision"], info["version"])
        assert stands == (self._place.step, self._revision, self._version), self.name
        shown = (await self._request("GET", f"{self.path}/memory", None, {}, 200)).json()["state"]
        for tensor, array in zip(shown, self._versions.state(self._place), strict=True):
            assert np.array_equal(np.float32(tensor["data"]), array.ravel()), (
                f"{self.name}: {tensor['name']} at step {self._place.step}"
            )
        kept = (await self._request("GET", f"{self.path}/snapshots", None, {}, 200)).json()
        assert {one["name"]: (one["revision"], one["step"]) for one in kept["snapshots"]} == {
            name: (stood.revision, stood.place.step) for name, stood in self._snapshots.items()
        }, self.name

    async def _steps(self) -> None:
        shape = (self._random.randint(1, 4), self._versions.width)
        rows = np.random.default_rng(self._random.getrandbits(32)).integers(0, 2, shape)
        rows = rows.astype(np.float32)
        answer = await self._post(f"{self.path}/steps", {"inputs": rows.tolist()}, 200)
        outputs, places = self._versions.step(self._place, rows, self._version)
        got = np.float32(answer.json()["outputs"])
        assert np.array_equal(got, outputs), f"{self.name}: outputs"
        self._mutated(answer, *places)

    async def _restore(self) -> None:
        point, place = self._point()
        answer = await self._post(f"{self.path}/restore", point, 200)
        self._mutated(answer, place)

    async def _migrate(self) -> None:
        self._version = "2" if self._version == "1" else "1"
        answer = await self._post(f"{self.path}/migrate", {"version": self._version}, 200)
        assert answer.json()["version"] == self._version, self.name
        self._mutated(answer, self._place)

    async def _reset(self) -> None:
        answer = await self._post(f"{self.path}/reset", {}, 200)
        self._mutated(answer, self._versions.initial(self._version))

    async def _snapshot(self) -> None:
        if len(self._snapshots) == SNAPSHOTS:
            return
        kept = (await self._post(f"{self.path}/snapshots", {}, 201)).json()
        assert (kept["step"], kept["revision"]) == (self._place.step, self._revision), self.name
        self._snapshots[kept["name"]] = Stood(self._revision, self._place)
        self._seen["snapshots"] += 1

    async def _fork(self) -> None:
        """Go on in a fork, once its parent is seen to stand where it stood."""
        parent = self.path
        point, place = self._random.choice([self._point(), ({}, self._place)])
        answer = await self._post(f"{self.path}/fork", point, 201)
        forked = answer.json()
        assert (forked["step"], forked["version"]) == (place.step, self._version), self.name
        await self.compare()
        self._place = place
        self._moved_to(answer)
        await self._request("DELETE", parent, None, {}, 204, 404)
        self._seen["forks"] += 1

    def _point(self) -> tuple[dict[str, Any], Place]:
        """A point of the past, by one of its names: for a step, the latest time it stood there."""
        stood = self._random.choice(self._past)
        name = self._random.choice([None, *self._snapshots])
        match self._random.choice(["step", "revision", "snapshot"]):
            case "snapshot" if name is not None:
                return {"snapshot": name}, self._snapshots[name].place
            case "revision":
                there = [s.place for s in self._past if s.revision == stood.revision]
                return {"revision": stood.revision}, there[-1]
            case _:
                step = stood.place.step
                return {"step": step}, [s.place for s in self._past if s.place.step == step][-1]

    def _moved_to(self, created: httpx.Response) -> None:
        self.path, self._etag = created.headers["location"], created.headers["etag"]
        self._revision = 1
        self._past.clear()
        self._past.append(Stood(1, self._place))
        self._snapshots.clear()

    def _mutated(self, answer: httpx.Response, *places: Place) -> None:
        self._revision, self._place = self._revision + 1, places[-1]
        self._past.extend(Stood(self._revision, place) for place in places)
        body = answer.json()
        stands = (body["step"], body["revision"])
        assert stands == (self._place.step, self._revision), (self.name, answer.url, stands)
        self._etag = answer.headers["etag"]
        self._seen["mutations"] += 1

    async def _post(self, path: str, body: dict[str, Any], status: int) -> httpx.Response:
        self._keys += 1
        headers = {"idempotency-key": f"{self.name}-{self._keys}"}
        if path.startswith(self.path) and self.path:
            headers["if-match"] = self._etag
        return await self._request("POST", path, body, headers, status)

    async def _request(
        self, method: str, path: str, body: Any, headers: dict[str, str], *expected: int
    ) -> httpx.Response:
        """The same request, again and again, until its outcome is known."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await self._http.request(method, path, json=body, headers=headers)
                except httpx.TransportError:
                    self._seen["broken connections"] += 1
                    await self._wait()
                    continue
                if answer.status_code in expected:
                    if "idempotency-replayed" in answer.headers:
                        self._seen["replayed"] += 1
                        self._seen[f"replayed {path.rpartition('/')[2]}"] += 1
                    return answer
                if answer.headers.get("content-type") == "text/html":
                    self._seen[f"{answer.status_code} of the router"] += 1
                    await self._wait()
                    continue
                problem = answer.json()
                assert answer.status_code in RETRIED, (self.name, method, path, problem)
                assert problem["code"] != "store_rolled_back", problem
                self._seen[problem["code"]] += 1
                await self._wait()

    async def _wait(self) -> None:
        """Before the next try, so that what starts again is not kept from it."""
        await asyncio.sleep(self._random.uniform(0.05, 0.25))
