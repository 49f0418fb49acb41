"""The spans of a step on its way through the engine: queue, step, commit.

Each is a child of the request's own span in the front. A batch serves many requests, so it has a
span of its own, to which the `step` of each of them links; it lies in the trace of the first of
them. Only jobs whose trace is sampled have phases, so without NTM_TRACES nothing here is imported.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import Span

from export.bundle import Manifest
from service.engine.job import Job
from service.errors import Internal, NtmError
from service.spans import Attributes, Tracer, fail, link


class Phases:
    """The one span of a job that is open now."""

    __slots__ = ("_about", "_open", "_tracer", "parent")

    def __init__(self, tracer: Tracer, parent: Context, about: Attributes) -> None:
        self._tracer, self.parent, self._about = tracer, parent, about
        self._open = tracer.begin("queue", parent, about)

    def enter(self, name: str) -> None:
        """The job goes on to its next phase."""
        self._open.end()
        self._open = self._tracer.begin(name, self.parent, self._about)

    def ran_in(self, batch: Span) -> None:
        """Some of its rows ran in that batch."""
        link(self._open, batch)

    def end(self, error: NtmError | None = None) -> None:
        """Nobody waits for the job any more: it is answered, or was given up."""
        if error is not None:
            fail(self._open, error.status, error.code)
        self._open.end()


class StepTracer:
    """Begins the spans of an engine. `close` sends what is left of them."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.close = tracer.close

    def admitted(self, job: Job, traceparent: str) -> Phases | None:
        """The phases of a job that is admitted now; None where its trace is not sampled."""
        parent = self._tracer.parent(traceparent)
        if parent is None:
            return None
        about = _about(job.host.manifest) | {"ntm.rows": job.count}
        return Phases(self._tracer, parent, about)

    @contextmanager
    def batch(self, manifest: Manifest, jobs: Sequence[Job], rows: int) -> Generator[None]:
        """The span of one call of the runtime, which runs so many rows of each of the jobs."""
        traced = [job.phases for job in jobs if job.phases is not None]
        if not traced:
            yield
            return
        about = _about(manifest) | {"ntm.batch_size": len(jobs), "ntm.rows": len(jobs) * rows}
        span = self._tracer.begin("batch", traced[0].parent, about)
        for phases in traced:
            phases.ran_in(span)
        with _ending(span):
            yield

    @contextmanager
    def call(self, name: str, traceparent: str) -> Generator[None]:
        """The span of a call that is no step: a creation, a fork, a look at the memory."""
        parent = self._tracer.parent(traceparent)
        if parent is None:
            yield
            return
        with _ending(self._tracer.begin(name, parent, {})):
            yield


@contextmanager
def _ending(span: Span) -> Generator[None]:
    """End a span with the block, and tell how it ended."""
    try:
        yield
    except NtmError as error:
        fail(span, error.status, error.code)
        raise
    except Exception:
        fail(span, Internal.status, Internal.code)
        raise
    finally:
        span.end()


def _about(manifest: Manifest) -> dict[str, str | int]:
    return {"ntm.model": manifest.name, "ntm.model_version": manifest.version}
