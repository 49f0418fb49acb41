"""Nobody who was not asked counts as one who found nothing."""

import datetime
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.audit.vulnerabilities import IGNORED, Finding, ask, heard, ignored, open_findings

DAY = datetime.date(2026, 11, 27)
HOLE = {
    "id": "GHSA-test-0001",
    "aliases": ["CVE-2026-0001"],
    "summary": "a hole",
    "affected": [
        {
            "package": {"name": "anyio", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


class Osv(BaseHTTPRequestHandler):
    """A service that knows a hole in anyio, and nothing against others."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        holes = [HOLE] if asked["package"]["name"] == "anyio" else []
        body = json.dumps({"vulns": holes} if holes else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements-some.lock"
    path.write_text("# a comment\nanyio==4.16.0\nsniffio==1.3.1\n")
    return path


def test_what_a_service_knows_is_found_by_every_name_that_it_has(osv: str, lock: Path):
    answer = ask("osv", lock, "--osv-url", osv)
    assert answer is not None and answer.known == {"anyio", "sniffio"} and not answer.unknown
    (found,) = answer.findings
    assert (found.package, found.version, found.fixed) == ("anyio", "4.16.0", ("99.0",))
    assert set(found.ids) == {"GHSA-test-0001", "CVE-2026-0001"}


def test_a_service_that_cannot_be_reached_is_none(lock: Path):
    assert ask("osv", lock, "--osv-url", "http://127.0.0.1:9/") is None


def test_a_service_that_knows_no_package_is_none_though_it_found_nothing():
    skipped = {"name": "anyio", "skip_reason": "Dependency not found and could not be audited"}
    assert heard({"dependencies": [skipped], "fixes": []}) is None
    known = {"name": "sniffio", "version": "1.3.1", "vulns": []}
    answer = heard({"dependencies": [skipped, known], "fixes": []})
    assert answer is not None and (answer.known, answer.unknown) == ({"sniffio"}, {"anyio"})


FINDING = Finding("anyio", "4.16.0", ("GHSA-test-0001", "CVE-2026-0001"), ())
ENTRY = '[[ignored]]\nid = "CVE-2026-0001"\npackage = "anyio"\nreason = "{}"\nuntil = {}\n'


def test_a_finding_is_passed_over_by_any_of_its_names_and_only_for_its_package():
    passed = ignored(ENTRY.format("not called", "2026-11-27"), DAY)
    assert open_findings([FINDING], passed) == []
    assert open_findings([FINDING._replace(package="other")], passed) != []
    assert open_findings([FINDING._replace(ids=("GHSA-test-0002",))], passed) != []


@pytest.mark.parametrize(
    ("reason", "until", "problem"),
    [("", "2026-12-01", "without a reason"), ("not called", "2026-11-26", "look at it anew")],
)
def test_an_entry_without_a_reason_or_past_its_day_is_refused(
    reason: str, until: str, problem: str
):
    with pytest.raises(ValueError, match=problem):
        ignored(ENTRY.format(reason, until), DAY)


def test_the_list_that_there_is_can_be_read():
    assert isinstance(ignored(IGNORED.read_text(), datetime.date.min), list)
