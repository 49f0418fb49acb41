"""A job's spans in an engine of this process: how they end where something goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from export.bundle import Bundle
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.phases import StepTracer
from service.errors import Internal
from service.settings import Settings
from service.spans import Tracer
from service.store.memory import MemoryStore
from service.store.store import StoreUnavailable
from tests.service.collector import ERROR, UNSET, Collector, Seen, collecting
from tests.service.engine.driver import Answer, Driver, make_host, rows_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


class Traced(Driver):
    """A driver whose calls bring a trace."""

    def ticket(self) -> Answer:
        answer = Answer()
        answer.trace, answer.request_id = PARENT, "r-1"
        return answer


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StepTracer, Collector]]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield StepTracer(Tracer("engine")), collector


@pytest.fixture
def driver(bundle: Bundle, runtimes: Any, tracer: tuple[StepTracer, Collector]) -> Traced:
    engine = Engine(Settings(), MemoryStore(), EngineMetrics(), tracer[0])
    engine.add(make_host(bundle, runtimes("onnx"), engine))
    return Traced(engine)


def ended(tracer: tuple[StepTracer, Collector]) -> dict[str, Seen]:
    """Every span by its name, once the tracer is closed."""
    tracer[0].close()
    assert {span.trace for span in tracer[1].spans} <= {TRACE}
    assert {span.parent for span in tracer[1].spans} <= {SPAN}
    return {span.name: span for span in tracer[1].spans}


async def test_a_batch_that_fails_is_an_error_of_its_steps_and_names_their_requests(
    driver: Traced,
    tracer: tuple[StepTracer, Collector],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    await driver.create("a")
    (host,) = driver.engine.life.hosts.values()
    monkeypatch.setattr(host.runtime, "step", broken)
    with pytest.raises(Internal):
        await driver.step("a", rows_of(1, 3)).wait()
    found = ended(tracer)
    assert set(found) == {"create", "queue", "step", "batch"}
    for name, status in (("queue", UNSET), ("step", ERROR), ("batch", ERROR)):
        assert found[name].status == status
    assert found["step"].about["ntm.code"] == "internal"
    assert found["step"].links == [found["batch"].id]
    assert "a batch of copy failed; requests: r-1" in caplog.text


async def test_a_store_that_is_away_is_an_error_of_the_commit_alone(
    driver: Traced, tracer: tuple[StepTracer, Collector], monkeypatch: pytest.MonkeyPatch
):
    async def away(*_: Any) -> Any:
        raise StoreUnavailable("it is away", sent=False)

    await driver.create("a")
    monkeypatch.setattr(driver.engine.store, "commit", away)
    answer = await driver.step("a", rows_of(1, 3)).settled()
    assert answer.code == "store_away"
    found = ended(tracer)
    assert {name: found[name].status for name in ("queue", "step", "commit")} == {
        "queue": UNSET, "step": UNSET, "commit": ERROR,
    }  # fmt: skip


async def test_a_prediction_has_no_commit(driver: Traced, tracer: tuple[StepTracer, Collector]):
    await driver.predict(rows_of(1, 3))
    assert set(ended(tracer)) == {"queue", "step", "batch"}


async def test_a_refused_call_has_the_code_of_its_error(
    driver: Traced, tracer: tuple[StepTracer, Collector]
):
    await driver.send(driver.steps("nobodys", rows_of(1, 2))).settled()
    await driver.send(driver.creation(model="nothing")).settled()
    found = ended(tracer)
    assert set(found) == {"create"}  # the step never became a job
    assert (found["create"].status, found["create"].about["ntm.code"]) == (UNSET, "model_not_found")


async def test_a_client_that_goes_away_while_it_waits_ends_its_queue(
    driver: Traced, tracer: tuple[StepTracer, Collector]
):
    await driver.create("a")
    answer = driver.step("a", rows_of(1, 3))
    driver.engine.cancel(answer)
    found = ended(tracer)
    assert (found["queue"].about["ntm.code"], found["queue"].status) == ("client_gone", UNSET)
    assert set(found) == {"create", "queue"}
