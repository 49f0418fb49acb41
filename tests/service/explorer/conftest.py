"""A real Chromium on a real server. Debian: apt-get install chromium."""

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from export.bundle import write_manifest
from service.settings import ZOO
from tests.service.conftest import read_manifest
from tests.service.serving import Server, served

SIZES = {"desk": (1280, 900), "phone": (320, 640)}
SHOTS = Path(__file__).resolve().parents[3] / "build" / "explorer"
MODELS = ("copy", "addition", "access", "graph-paths", "few-shot-pairs")
FORMS: dict[str, dict[str, Any]] = {
    "other": {"kind": "unheard-of"},
    "edges": {
        "kind": "graph",
        "parts": [{"name": n, "size": s} for n, s in (("source", 3), ("label", 2), ("target", 3))],
        "flags": ["query"],
    },
    "glyphs": {"kind": "glyph", "height": 3, "width": 2, "labels": 3, "told": "before"},
    "repeats": {
        "kind": "bits",
        "width": 7,
        "flags": ["delimiter"],
        "numbers": [{"name": "repeats", "mean": 5.5, "deviation": 2.0}],
    },
    "longer": {"kind": "bits", "width": 20, "flags": []},
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 30_000.0  # on a busy machine


@pytest.fixture(scope="session")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server of some models, and of the first with other forms for its nine numbers."""
    folder = tmp_path_factory.mktemp("explored")
    for name in MODELS:
        shutil.copytree(Path(ZOO) / name / "bundle", folder / name)
    for name, form in FORMS.items():
        shutil.copytree(folder / "copy", folder / name)
        manifest = read_manifest(folder / name)
        write_manifest(folder / name, replace(manifest, name=name, form=form))
    with served(tmp_path_factory.mktemp("server"), folder) as running:
        yield running


@pytest.fixture
def api(explored: Server) -> Iterator[httpx.Client]:
    """A client of the same server."""
    with explored.client() as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Generator[Any]:
    """Chromium, without a window. Not for longer than a file: while it is there a loop of its own
    runs in this thread, in which no other test's coroutines could."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visit:
    """A page of one size and what went wrong on it. `shot` keeps a picture of it."""

    def __init__(self, page: Any, size: str, url: str) -> None:
        self.page, self.size, self.url = page, size, url
        self.wrong: list[str] = []
        self.forgiven = 0
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def open(self, place: str = "") -> Any:
        """Go to a place of the explorer, and wait for its heading."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/explorer{place}")
        self.page.wait_for_selector("h1")
        return self.page

    def forgive(self, status: int) -> None:
        """The browser itself logs answers of this status, whenever they come."""
        self.forgiven = status

    def shot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}-{self.size}.png", full_page=True)

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.wrong.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:", "about:")):
            self.wrong.append(f"asked elsewhere: {url}")


@pytest.fixture(params=list(SIZES))
def visit(request: pytest.FixtureRequest, browser: Any, explored: Server) -> Iterator[Visit]:
    """A fresh browser profile of each size. Fails where the page logged an error, met its content
    security policy, or asked another server for anything."""
    width, height = SIZES[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height}, accept_downloads=True, reduced_motion="reduce"
    )
    context.set_default_timeout(WAIT_MS)
    seen = Visit(context.new_page(), request.param, explored.url)
    yield seen
    wide = seen.page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert [said for said in seen.wrong if f"status of {seen.forgiven} " not in said] == []
    assert wide <= width, "nothing sticks out to the right"
