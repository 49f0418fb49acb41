"""The bucket of tokens, by a clock of the test's own."""

from __future__ import annotations

import pytest

from service.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_seconds_worth_may_come_at_once_and_then_a_steady_rate():
    clock = Clock()
    rates = Rates(4.0, clock)
    assert [rates.take("acme") for _ in range(4)] == [0.0] * 4
    assert rates.take("acme") == pytest.approx(0.25)
    clock.now += 0.25
    assert rates.take("acme") == 0.0
    assert rates.take("acme") == pytest.approx(0.25)


def test_what_is_saved_up_is_no_more_than_a_seconds_worth():
    clock = Clock()
    rates = Rates(2.0, clock)
    clock.now += 3600
    assert [rates.take("acme") > 0 for _ in range(3)] == [False, False, True]


def test_one_name_takes_nothing_from_another():
    rates = Rates(1.0, Clock())
    assert rates.take("acme") == 0.0
    assert rates.take("acme") > 0.0
    assert rates.take("bell") == 0.0


def test_a_rate_below_one_lets_one_in_at_a_time():
    clock = Clock()
    rates = Rates(0.1, clock)
    assert rates.take("acme") == 0.0
    assert rates.take("acme") == pytest.approx(10.0)
    clock.now += 9.9
    assert rates.take("acme") == pytest.approx(0.1)
    clock.now += 0.2
    assert rates.take("acme") == 0.0
