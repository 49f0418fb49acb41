import pytest

from service import errors as server_errors
from service.client import errors
from service.client.errors import BY_STATUS, ApiError, NtmClientError, Problem, api_error


def kinds(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(kinds(kind) for kind in root.__subclasses__()))


@pytest.mark.parametrize(("code", "kind"), sorted(server_errors.codes().items()))
def test_every_error_of_the_server_is_one_of_its_family(code: str, kind: type):
    error = api_error(Problem(kind.status, "why", code, "r1"))
    assert (error.status, error.code, error.request_id) == (kind.status, code, "r1")
    family = BY_STATUS.get(kind.status)
    if family is None:
        family = errors.ServerError if kind.status >= 500 else errors.InvalidRequest
    assert isinstance(error, family)
    assert str(error) == f"why ({code}, request r1)"


@pytest.mark.parametrize("code", errors.BY_CODE)
def test_a_code_of_its_own_class_is_one_the_server_has_or_will_have(code: str):
    coming = {"too_many_state_bytes"}
    assert code in server_errors.codes().keys() | coming


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthenticated),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (418, errors.InvalidRequest),
        (429, errors.TooMany),
        (500, errors.ServerError),
        (599, errors.ServerError),
    ],
)
def test_an_unknown_code_is_an_error_by_its_status(status: int, kind: type[ApiError]):
    assert type(api_error(Problem(status, "x", "from_the_future"))) is kind


def test_every_error_stands_in_the_tree_that_is_drawn_and_is_exported():
    import service.client

    for kind in kinds(NtmClientError):
        if kind.__name__.startswith("_"):
            continue
        assert kind.__name__ in (errors.__doc__ or "")
        assert getattr(service.client, kind.__name__) is kind


def test_misuse_is_a_value_error_as_well():
    assert issubclass(errors.Misuse, ValueError)
