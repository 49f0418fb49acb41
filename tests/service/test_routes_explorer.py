"""The explorer's files as the server sends them. What they do: tests/service/explorer."""

import hashlib
import re
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.routes.explorer import FOLDER, HANDLERS, assets
from service.settings import Settings
from tests.service.serving import client_of

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "service" / "README.md").read_text()
IMPORT = re.compile(r"""(?:from|import\()\s*["'](\.[^"']+)["']""")
# The plotting library as its npm package has it: uplot 1.6.32, dist/.
VENDORED = {
    "vendor/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "vendor/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


@pytest.fixture
async def page():
    """A client of an app without an engine: the files need none."""
    async with client_of(create_app(Settings())) as client:
        yield client


async def test_the_page_and_every_file_of_it_are_sent_with_their_kind(page: httpx.AsyncClient):
    answer = await page.get("/explorer")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert {"index.html", "explorer.css", "icon.svg", "js/app.js"} <= set(assets())
    for name, asset in assets().items():
        sent = await page.get(f"/explorer/{name}")
        assert (sent.status_code, sent.content) == (200, asset.data), name
        assert sent.headers["content-type"] == asset.media_type.decode()


async def test_a_file_that_a_browser_has_is_not_sent_again(page: httpx.AsyncClient):
    first = await page.get("/explorer/js/app.js")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache", "kept, and asked about"
    again = await page.get("/explorer/js/app.js", headers={"if-none-match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = await page.get("/explorer/js/app.js", headers={"if-none-match": '"other"'})
    assert changed.status_code == 200


async def test_the_policy_lets_run_and_load_what_this_server_sends_alone(page: httpx.AsyncClient):
    for path in ("/explorer", "/explorer/js/app.js"):
        headers = (await page.get(path)).headers
        policy = headers.get_list("content-security-policy")
        assert len(policy) == 1
        assert "default-src 'none'" in policy[0] and "script-src 'self'" in policy[0]
        assert "unsafe" not in policy[0] and "*" not in policy[0] and ":" not in policy[0]
        assert headers["x-content-type-options"] == "nosniff"
    other = (await page.get("/schema")).headers["content-security-policy"]
    assert "script-src" not in other, "every other answer runs nothing at all"


def test_nothing_on_the_page_is_inline_or_from_elsewhere():
    page = assets()["index.html"].data.decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=|javascript:", page)
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(not re.match(r"\w+:|//", link) for link in links)
    for link in links:
        if link.startswith("explorer/"):
            assert link.removeprefix("explorer/") in assets(), link


@pytest.mark.parametrize("name", [n for n in assets() if n.startswith("js/")])
def test_a_module_imports_what_is_there_and_runs_no_text(name: str):
    text = assets()[name].data.decode()
    for found in IMPORT.findall(text):
        assert (FOLDER / name).parent.joinpath(found).resolve().is_file(), found
    assert not re.search(
        r"\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write", text
    )
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert len(text.splitlines()) <= 250


@pytest.mark.parametrize(
    "path",
    ["/explorer/nothing.js", "/explorer/..%2Fsettings.py", "/explorer/js",
     "/explorer/js/../../settings.py", "/explorer/%2e%2e/app.py", "/explorer/vendor/uPlot.LICENSE"],
)  # fmt: skip
async def test_what_is_no_file_of_the_page_is_not_found(page: httpx.AsyncClient, path: str):
    answer = await page.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "route_not_found"


async def test_the_page_has_one_address_since_its_links_count_from_there(page: httpx.AsyncClient):
    answer = await page.get("/explorer/")
    assert (answer.status_code, answer.headers["location"]) == (308, "../explorer")


@pytest.mark.parametrize(("name", "digest"), sorted(VENDORED.items()))
def test_the_plotting_library_is_the_packages_own_to_the_byte(name: str, digest: str):
    assert hashlib.sha256(assets()[name].data).hexdigest() == digest
    assert "MIT" in (FOLDER / "vendor" / "uPlot.LICENSE.txt").read_text()
    assert "1.6.32" in assets()["vendor/uPlot.iife.min.js"].data[:80].decode()


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.handler_name)
def test_its_routes_stand_in_the_readme(handler: object):
    (path,) = handler.paths  # pyright: ignore[reportAttributeAccessIssue]
    assert f"| GET | `{re.sub(r':[a-z]+}', '}', path)}` |" in README


def test_no_module_knows_a_family_of_networks_by_name():
    families = re.compile(r"""["'](ntm|dnc|mann|npi|nram|sam|lstm)["']""")
    for name, asset in assets().items():
        if name.startswith("js/") and name != "js/demos.js":  # which says of each what it shows
            assert not families.search(asset.data.decode()), name
