import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client.backoff import Backoff, Retries
from service.client.errors import Misuse


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def of(policy: Retries, dice: float = 0.5, clock: Clock | None = None) -> Backoff:
    return Backoff(policy, clock or Clock(), lambda: dice)


def test_pauses_double_up_to_their_cap_and_are_as_random_as_the_dice():
    policy = Retries(count=6, base_s=0.1, cap_s=0.9, total_s=60)
    backoff = of(policy, 0.5)
    pauses = [backoff.pause() for _ in range(7)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.45, 0.45, None]
    assert of(policy, 0.0).pause() == 0.0


def test_what_the_server_asked_for_comes_before_the_random_part():
    assert of(Retries(base_s=1.0), 0.25).pause(at_least_s=3.0) == 3.25


def test_no_try_begins_after_the_whole_time():
    clock = Clock()
    backoff = of(Retries(count=9, base_s=1.0, total_s=10.0), 0.5, clock)
    assert backoff.pause() == 0.5
    clock.now += 9.5
    assert backoff.left_s == 0.5
    assert backoff.pause() is None  # a second would pass
    assert backoff.pause(at_least_s=20.0) is None
    backoff.begin_anew()
    assert backoff.left_s == 10.0
    assert backoff.pause() == 0.5


def test_a_pause_that_is_refused_costs_no_retry():
    backoff = of(Retries(count=1, base_s=0.0, total_s=5.0))
    assert backoff.pause(at_least_s=6.0) is None
    assert backoff.pause() == 0.0
    assert backoff.pause() is None


def test_none_means_one_try():
    assert of(Retries(0)).pause() is None


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"base_s": -1.0}, {"cap_s": -0.1}, {"total_s": 0}]
)
def test_negative_policies_are_refused(wrong: dict[str, float]):
    with pytest.raises(Misuse, match="retries"):
        Retries(**wrong)  # pyright: ignore[reportArgumentType]


@given(
    st.integers(0, 2000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 10),
    st.floats(0, 20),
)
def test_a_pause_is_never_beyond_its_cap(count: int, dice: float, base: float, cap: float):
    backoff = of(Retries(count=count, base_s=base, cap_s=cap, total_s=1e9), dice)
    for _ in range(count):
        pause = backoff.pause()
        assert pause is not None and 0 <= pause <= cap
    assert backoff.pause() is None
