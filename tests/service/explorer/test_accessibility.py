"""axe finds nothing serious, and the page is for keyboards, dark rooms and other eyes too."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import ZOO
from tests.service.explorer.conftest import Visit
from tests.service.explorer.test_in_a_browser import wait_for
from tests.service.keyed import new_key
from tests.service.serving import Server, served
from tests.service.test_routes_mutations import WRITE
from tests.service.test_routes_sessions import create, step

DEMOS = {  # and what is there when it has come
    "copy": ".pixel",
    "glyphs": "#teach",
    "metro": "text=See what is in its memory",
    "carry": ".calls li[aria-current]",
    "circuit": ".circuits pre",
}


@pytest.fixture
def session(explored: Server) -> str:
    with explored.client() as client:
        session = create(client)["id"]
        step(client, f"/v1/sessions/{session}", WRITE).raise_for_status()
        return session


def findings(page: Any) -> list[str]:
    """What axe calls serious or critical, with the elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe").Axe()
    found = axe.run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["", *(f"#demo={name}" for name in DEMOS), "#session="])
def test_axe_finds_nothing_serious(visit: Visit, session: str, place: str, scheme: str):
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open(place + session if place.endswith("=") else place)
    if place == "#session=":
        wait_for(page, "row 7 of 7")
        page.click(".more > summary")
        wait_for(page, "The write head is on slot", ".words")
        for summary in page.locator("details.numbers > summary").all()[:2]:
            summary.click()
        visit.shot(f"session-{scheme}")
    elif place:
        page.wait_for_selector(DEMOS[place.removeprefix("#demo=")])
    assert findings(page) == []


def test_axe_finds_nothing_serious_where_two_are_compared(
    explored: Server, visit: Visit, session: str
):
    with explored.client() as client:
        fork = client.post(f"/v1/sessions/{session}/fork", json={}).raise_for_status().json()["id"]
        for one, rows in ((session, WRITE[:3]), (fork, WRITE[1:4])):
            step(client, f"/v1/sessions/{one}", rows).raise_for_status()
    page = visit.open(f"#session={fork}&compare={session}")
    wait_for(page, "differ by up to", "#difference")
    assert findings(page) == []


def test_axe_is_at_work(visit: Visit):
    page = visit.open()
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any(found.startswith("button-name") for found in findings(page))


def test_every_plot_has_a_name_and_its_numbers_as_a_table(visit: Visit, session: str):
    page = visit.open(f"#session={session}")
    wait_for(page, "row 7 of 7")
    page.wait_for_selector(".present canvas[aria-label*='After step 7.']")
    for figure in page.locator("figure:visible").all():
        title = figure.locator(".title").inner_text()
        label = figure.locator("[role=img]").first.get_attribute("aria-label")
        assert label.startswith(title), title
        figure.locator("details.numbers > summary").click()
        figure.locator("details.numbers td").first.wait_for(state="attached")
        assert figure.locator("details.numbers caption").inner_text() == title


def test_all_that_is_done_with_a_mouse_is_done_with_keys(visit: Visit, session: str):
    page = visit.open(f"#session={session}")
    wait_for(page, "row 7 of 7")
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"fork", "take-trace", "play", "live", "scrub", "window", "CANVAS"} <= reached


def test_who_skips_to_the_content_stays_on_the_page(visit: Visit, session: str):
    page = visit.open(f"#session={session}")
    wait_for(page, "row 7 of 7")
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.inner_text("h1") == session and session in page.url


def test_the_colours_are_a_choice_that_is_kept(visit: Visit, session: str):
    page = visit.open(f"#session={session}")
    wait_for(page, "row 7 of 7")
    colour = (
        "() => [...document.querySelector('canvas.heat').getContext('2d')"
        ".getImageData(1, 1, 1, 1).data].slice(0, 3).join()"
    )
    assert page.evaluate(colour) in ("68,1,84", "253,231,37"), "an end of viridis"
    page.select_option("#scale", "cividis")
    page.wait_for_function(f"() => ['0,34,78', '254,232,56'].includes(({colour})())")
    page.reload()
    wait_for(page, "row 7 of 7")
    assert page.input_value("#scale") == "cividis"
    visit.wrong = [said for said in visit.wrong if "Canvas2D" not in said]  # of our reading it


def test_a_server_with_keys_is_asked_with_one_that_is_kept_in_the_tab(browser: Any, tmp_path: Path):
    keys = tmp_path / "keys.json"
    key = new_key(keys, "acme", "read", "step")
    with served(tmp_path, Path(ZOO) / "copy" / "bundle", NTM_KEYS=str(keys)) as server:
        page = browser.new_page()
        page.goto(f"{server.url}/explorer")
        page.fill("#key", "ntm_wrong_key")
        page.click("dialog button")
        page.wait_for_selector("dialog >> text=The last one is unknown")
        assert findings(page) == []
        page.fill("#key", key)
        page.click("dialog button")
        page.click("[data-model=copy] button")
        page.click("#step")
        wait_for(page, "row 1 of 1")
        page.reload()
        wait_for(page, "row 1 of 1")
        wait_for(page, "· live", ".facts")
        stored = page.evaluate("[JSON.stringify(localStorage), document.cookie]")
        assert key not in "".join(stored)
        with httpx.Client(headers={"authorization": f"Bearer {key}"}) as client:
            assert len(client.get(f"{server.url}/v1/sessions").json()["sessions"]) == 1
        page.context.close()
