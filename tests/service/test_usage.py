"""What a process says of itself, beside what the kernel says of it."""

from __future__ import annotations

import os
from time import process_time, time

import pytest
from prometheus_client import CollectorRegistry

from service.usage import Usage
from tests.service.serving import memory_of


def told(registry: CollectorRegistry, name: str) -> float:
    value = registry.get_sample_value(f"ntm_engine_{name}")
    assert value is not None
    return value


def test_a_process_tells_its_memory_its_age_and_its_processor_time():
    before = time()
    registry = CollectorRegistry()
    Usage("engine", registry)
    assert before <= told(registry, "start_seconds") <= time()
    assert told(registry, "resident_bytes") == pytest.approx(memory_of(os.getpid()), rel=0.1)
    first = told(registry, "cpu_seconds_total")
    end = process_time() + 0.05
    while process_time() < end:
        pass
    assert 0.04 < told(registry, "cpu_seconds_total") - first < 5
