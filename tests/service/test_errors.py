import inspect
import re

import msgspec
import pytest

from service import errors
from service.errors import NtmError, codes, from_failure
from service.messages import Failure

TREE = errors.__doc__ or ""
LEAVES = sorted(codes().items())


def test_the_drawn_tree_is_the_tree():
    drawn = re.findall(r"── (\w+)(?: +(\d{3}) +(\w+))?", TREE)
    assert drawn
    for name, status, code in drawn:
        kind = getattr(errors, name)
        if code:
            assert (kind.status, kind.code) == (int(status), code), name
    classes = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, NtmError) and kind is not NtmError
    }
    assert {name for name, _, _ in drawn} == classes


def test_a_drawn_branch_is_the_class_that_its_twigs_inherit():
    branch = ""
    for line in TREE.splitlines():
        if twig := re.match(r"    │   [├└]── (\w+)", line):
            assert issubclass(getattr(errors, twig[1]), getattr(errors, branch))
        elif found := re.match(r"    [├└]── (\w+)", line):
            branch = found[1]
            assert getattr(errors, branch).__base__ is NtmError


@pytest.mark.parametrize(("code", "kind"), LEAVES)
def test_an_error_survives_the_way_through_a_failure(code: str, kind: type[NtmError]):
    sent = kind("what happened", expected=3, got=[4, 5])
    packed = msgspec.msgpack.encode(sent.to_failure())
    got = from_failure(msgspec.msgpack.decode(packed, type=Failure))
    assert type(got) is kind and got.code == code
    assert (got.detail, got.extra) == (sent.detail, sent.extra)


@pytest.mark.parametrize(("code", "kind"), LEAVES)
def test_an_error_is_problem_details(code: str, kind: type[NtmError]):
    body = msgspec.json.decode(kind("what happened", expected="a", got="b").to_body("id-1"))
    assert body == {
        "type": f"urn:problem-type:ntm:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "what happened",
        "code": code,
        "request_id": "id-1",
        "expected": "a",
        "got": "b",
    }
    assert kind.title and 400 <= kind.status <= 599


def test_what_an_error_adds_cannot_replace_the_standard_members():
    error = from_failure(Failure("queue_full", "full", {"status": 200, "code": "fine", "got": 1}))
    body = msgspec.json.decode(error.to_body("id-1"))
    assert (body["status"], body["code"], body["got"]) == (429, "queue_full", 1)


def test_a_failure_cannot_set_headers_or_the_detail_through_its_extra():
    error = from_failure(Failure("internal", "real", {"detail": "x", "headers": {"a": "b"}}))
    assert (error.detail, error.headers) == ("real", {})


def test_a_failure_of_an_unknown_code_is_internal():
    error = from_failure(Failure("no_such_code", "odd"))
    assert (error.code, error.status, error.detail) == ("internal", 500, "odd")


@pytest.mark.parametrize(("code", "kind"), LEAVES)
def test_what_is_worth_another_try_says_when(code: str, kind: type[NtmError]):
    assert ("retry-after" in kind("x").headers) == (kind.status in (429, 503)), code


def test_two_errors_of_a_kind_share_no_headers():
    first, second = errors.QueueFull("a"), errors.QueueFull("b")
    first.headers["connection"] = "close"
    assert "connection" not in second.headers
