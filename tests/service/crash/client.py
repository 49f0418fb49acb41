"""A client that retries until it is told, and a model of where its session must stand."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from service.engine.runtime import Runtime

Floats = NDArray[np.float32]
PATIENCE_S = 60.0  # for one request, over as many tries as it takes
RETRIED = (429, 503, 504)


class Reference:
    """What rows come to, by the same runtime in this process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def width(self) -> int:
        """Numbers a row."""
        return self._runtime.input_size

    def initial(self) -> list[NDArray[Any]]:
        """The state a session begins with."""
        return self._runtime.save(0)

    def step(self, state: list[NDArray[Any]], rows: Floats) -> tuple[Floats, list[NDArray[Any]]]:
        """rows: (T, X). Returns outputs (T, Y) and the state after them."""
        self._runtime.load(1, state)
        y = self._runtime.step([1], [2], rows[None]).y[0]
        return y, self._runtime.save(2)


class Client:
    """One session and all that was acknowledged of it. `seen` counts what happened."""

    def __init__(
        self, number: int, http: httpx.AsyncClient, reference: Reference, seen: Counter[str]
    ) -> None:
        self._http, self._reference, self._seen = http, reference, seen
        self._random = random.Random(number)
        self._keys = 0
        self._name = f"client-{number}"
        self.path, self._etag = "", ""
        self._rows: list[Floats] = []  # that led to where the session stands
        self._state = reference.initial()
        self._step, self._revision = 0, 0
        self._oldest = 0  # the first step of its history: a fork's begins where it was forked

    async def live(self, stop: asyncio.Event) -> None:
        """Begin a session and do this and that with it until told to stop; then compare."""
        created = await self._post("/v1/models/copy/sessions", {}, 201)
        self._moved_to(created)
        self._revision = 1
        doings = [self._steps, self._restore, self._fork, self._reset, self._snapshot]
        while not stop.is_set():
            await self._random.choices(doings, weights=[90, 3, 3, 1, 3])[0]()
        await self.compare()

    async def compare(self) -> None:
        """The session must stand where it was acknowledged to stand, to the last bit."""
        info = (await self._request("GET", self.path, None, {}, 200)).json()
        assert (info["step"], info["revision"]) == (self._step, self._revision), self._name
        shown = (await self._request("GET", f"{self.path}/memory", None, {}, 200)).json()["state"]
        for tensor, array in zip(shown, self._state, strict=True):
            assert np.array_equal(np.float32(tensor["data"]), array.ravel()), (
                f"{self._name}: {tensor['name']} at step {self._step}"
            )

    async def _steps(self) -> None:
        shape = (self._random.randint(1, 4), self._reference.width)
        rows = np.random.default_rng(self._random.getrandbits(32)).integers(0, 2, shape)
        rows = rows.astype(np.float32)
        answer = await self._post(f"{self.path}/steps", {"inputs": rows.tolist()}, 200)
        outputs, self._state = self._reference.step(self._state, rows)
        body = answer.json()
        assert np.array_equal(np.float32(body["outputs"]), outputs), f"{self._name}: outputs"
        self._rows += list(rows)
        self._step += len(rows)
        self._mutated(answer)

    async def _restore(self) -> None:
        oldest = max(self._oldest, self._step - 200)
        self._step = self._random.randint(oldest, self._step)
        answer = await self._post(f"{self.path}/restore", {"step": self._step}, 200)
        self._rebuild()
        self._mutated(answer)

    async def _reset(self) -> None:
        answer = await self._post(f"{self.path}/reset", {}, 200)
        self._step = self._oldest = 0
        self._rebuild()
        self._mutated(answer)

    async def _snapshot(self) -> None:
        kept = (await self._request("GET", f"{self.path}/snapshots", None, {}, 200)).json()
        if len(kept["snapshots"]) < 5:
            answer = await self._post(f"{self.path}/snapshots", {}, 201)
            assert answer.json()["step"] == self._step
        self._seen["snapshots"] += 1

    async def _fork(self) -> None:
        """Go on in a fork, and see that it is what it was forked from."""
        parent = self.path
        answer = await self._post(f"{self.path}/fork", {}, 201)
        assert answer.json()["step"] == self._step
        await self.compare()
        self._moved_to(answer)
        self._revision, self._oldest = 1, self._step
        await self._request("DELETE", parent, None, {}, 204, 404)
        self._seen["forks"] += 1

    def _rebuild(self) -> None:
        self._rows = self._rows[: self._step]
        self._state = self._reference.initial()
        if self._rows:
            self._state = self._reference.step(self._state, np.stack(self._rows))[1]

    def _moved_to(self, created: httpx.Response) -> None:
        self.path, self._etag = created.headers["location"], created.headers["etag"]

    def _mutated(self, answer: httpx.Response) -> None:
        self._revision += 1
        body = answer.json()
        assert (body["step"], body["revision"]) == (self._step, self._revision), self._name
        self._etag = answer.headers["etag"]
        self._seen["mutations"] += 1

    async def _post(self, path: str, body: dict[str, Any], status: int) -> httpx.Response:
        self._keys += 1
        headers = {"idempotency-key": f"{self._name}-{self._keys}"}
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
                    await asyncio.sleep(0.02)
                    continue
                if answer.status_code in expected:
                    self._seen["replayed"] += "idempotency-replayed" in answer.headers
                    return answer
                problem = answer.json()
                assert answer.status_code in RETRIED, (self._name, method, path, problem)
                assert problem["code"] != "store_rolled_back", problem
                self._seen[problem["code"]] += 1
                await asyncio.sleep(0.02)
