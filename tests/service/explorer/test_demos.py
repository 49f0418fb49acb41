"""What a newcomer does with the demos. Networks without training answer something: what is sent,
and what is said of the answers, is held against the server."""

import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from model.npi_numbers import number_on
from model.tape import decode
from service.settings import ZOO
from tests.service.explorer.conftest import Visit
from tests.service.explorer.test_in_a_browser import scrub, wait_for
from tests.service.serving import served, until


def session_of(page: Any, link: bool = False) -> str:
    """The id in the address, or in the link to what is in a session's memory."""
    if link:
        page.wait_for_selector("text=See what is in its memory")
    else:
        page.wait_for_url(re.compile("session="))
    place = page.get_attribute("a:has-text('in its memory')", "href") if link else page.url
    found = re.search(r"session=(\w+)", place)
    assert found
    return found[1]


def shown(api: httpx.Client, page: Any, tensor: str) -> np.ndarray:
    """A tensor of the session that the page came to, as the server has it."""
    state = api.get(f"/v1/sessions/{session_of(page)}/memory").json()["state"]
    (found,) = (part for part in state if part["name"] == tensor)
    return np.array(found["data"]).reshape(found["dims"])


def told(api: httpx.Client, session: str, what: str = "inputs") -> np.ndarray:
    """Every row of the session, the first first."""
    history = api.get(f"/v1/sessions/{session}/history?limit=1000").json()["history"]
    return np.concatenate([entry[what] for entry in reversed(history) if what in entry])


def cells_of(page: Any) -> dict[str, list[str]]:
    """The machine's cells, a line each by name; what only a screen reader says left out."""
    lines = page.evaluate(
        "[...document.querySelectorAll('.cells tbody tr')].map(line => [...line.children].map("
        "cell => cell.firstChild.textContent))"
    )
    return {name: cells for name, *cells in lines}


def test_a_program_adds_two_numbers_on_its_pad(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-demo=carry] a")
    pad = shown(api, page, "pad")
    assert number_on(pad[3]) == 221 and pad[0, -2:].tolist() == [9, 6]
    page.wait_for_selector("#play")
    page.fill("[data-name=first]", "7")
    page.fill("[data-name=second]", "1x")
    page.click("#step")
    page.wait_for_selector("#say.shown >> text=Expected numbers of digits alone.")
    page.fill("[data-name=second]", "15")
    page.click("#step")
    wait_for(page, "of 65")
    pad = shown(api, page, "pad")
    assert [pad[0, -2:].tolist(), pad[1, -2:].tolist()] == [[-1, 7], [1, 5]]


def test_where_it_carries_one_sees_the_call_the_stack_and_the_pad(visit: Visit):
    page = visit.open("#demo=carry")
    page.wait_for_selector(".calls li >> nth=10")
    calls = page.locator(".calls li").all_inner_texts()
    assert calls[:7] == [
        *("typed · 1", "typed 9 2", "typed 6 5"),
        *("ADD1", "ACT write out 1", "CARRY", "ACT left carry"),
    ]
    carry = calls.index("ACT write carry 1")
    page.locator(".calls li").nth(carry).click()
    wait_for(page, "ADD › ADD1 › CARRY", ".words")
    assert page.inner_text(".calls [aria-current]") == "ACT write carry 1"
    assert page.get_attribute(".calls [aria-current]", "data-depth") == "3"
    cells = cells_of(page)
    assert [cells[name][-3:] for name in ("first", "second", "carry", "out")] == [
        *(["·", "9", "6"], ["1", "2", "5"], ["·", "1", "·"], ["·", "·", "1"]),
    ]
    assert "pointer carry is here" in page.inner_text(".cells .marked >> nth=2")
    assert page.locator("figure:visible", has_text="Stack").count() == 2, "and not one a frame"
    visit.shot("carried")


def test_a_machine_follows_a_pointer_on_its_tape(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-demo=circuit] a")
    assert decode(shown(api, page, "tape"))[:6] == [9, 7, 1, 4, 9, 2]
    page.wait_for_selector(".circuits pre >> nth=2")
    wait_for(page, "Play", "#play")  # it plays by itself, and would go on from there
    scrub(page, 0)
    wait_for(page, "step 1 ")
    traced = api.get(f"/v1/sessions/{session_of(page)}/trace?step=1&rows=1&roles=memory").json()
    after = np.array(traced["state"][0]["data"], np.float32).reshape(2, 64, 64)[1]
    until(lambda: cells_of(page)["tape"][:6] == [str(value) for value in decode(after)[:6]])
    steps = page.locator(".circuits li")
    assert steps.all_inner_texts()[0].startswith("Step 1\n") and steps.count() == 3
    assert page.locator(".circuits [aria-current] strong").inner_text() == "Step 1"
    programs = page.locator(".circuits pre").all_inner_texts()
    assert all("WRITE(" in program for program in programs)
    assert [program.splitlines()[-1] for program in programs] == ["next step", "next step", "halt"]
    visit.shot("pointer")


def test_another_tape_is_another_session(visit: Visit, api: httpx.Client):
    page = visit.open("#demo=circuit")
    before = session_of(page)
    page.fill("#tape", "2 5 64")
    page.click("#begin-tape")
    page.wait_for_selector("#say.shown >> text=Expected at most 64 numbers of 0 to 63.")
    page.fill("#tape", "2, 5 8 13")
    page.click("#begin-tape")
    page.wait_for_function(f"() => !location.hash.includes('{before}')")
    wait_for(page, "no rows yet")
    assert decode(shown(api, page, "tape"))[:5] == [2, 5, 8, 13, 0]
    page.wait_for_selector(".cells tbody tr")
    assert cells_of(page)["tape"][:4] == ["2", "5", "8", "13"]
    page.fill("#tape-steps", "4")
    page.click("#step")
    wait_for(page, "row 4 of 4")
    assert decode(shown(api, page, "tape"))[:4] == [13, 5, 8, 13]
    assert told(api, session_of(page)).tolist() == [[1]] * 4


def test_three_signs_are_taught_and_another_named(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-demo=glyphs] a")
    page.click("#ask")
    page.wait_for_selector("#say.shown >> text=Teach it first.")
    page.fill("input[aria-label='Name of sign 2']", "yod")
    page.click("#teach")
    session = session_of(page, link=True)
    page.click("[data-sign='1']")
    page.click("#ask")
    page.wait_for_selector(".verdict")
    rows, outputs = told(api, session), told(api, session, "outputs")
    drawings, labels = rows[:, :400], rows[:, 400:]
    assert not labels[::2].any() and labels[1::2].tolist() == np.eye(5)[:3].tolist()
    assert (drawings[:6:2] == drawings[1::2]).all(), "each alone, then with its own label"
    assert (drawings.sum(1) > 20).all() and len(np.unique(drawings, axis=0)) == 4
    assert int(outputs[6].argmax()) == 1
    assert page.inner_text(".verdict") == "It says yod. That is right."
    shares = page.locator(".shares li").all_inner_texts()
    assert "yod" in shares[0] and f"{round(100 * outputs[6][1])}%" in shares[0]
    visit.shot("glyphs")
    page.click(".drawing[aria-label='The sign to name'] .pixel >> nth=0")
    page.click("#ask")
    page.wait_for_function(
        "() => !/right|It is/.test(document.querySelector('.verdict').innerText)"
    )
    assert not told(api, session)[7, 400:].any()
    page.click("#again")
    page.wait_for_selector("#say.shown >> text=once more")
    assert told(api, session)[9::2, 400:].tolist() == np.eye(5)[:3].tolist()


def test_of_a_sign_of_ones_own_nobody_knows_what_is_right_and_moving_past_one_draws_nothing(
    visit: Visit,
):
    page = visit.open("#demo=glyphs")
    page.locator(".drawing[aria-label='Sign 2'] .pixel").first.click()
    page.click("#teach")
    session_of(page, link=True)
    page.click("#ask")  # of sign 2, by another hand
    page.wait_for_selector(".verdict")
    assert page.inner_text(".verdict").count(".") == 1, "what it says, and no verdict"
    page.focus(".drawing[aria-label='Sign 1'] [tabindex='0']")
    for key in ("ArrowRight", "Tab"):
        page.keyboard.press(key)
    page.click("[data-sign='0']")
    page.click("#ask")
    page.wait_for_function("() => /right|It is/.test(document.querySelector('.verdict').innerText)")


def test_a_metro_is_told_and_asked_for_a_route(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-demo=metro] a")
    session = session_of(page, link=True)
    links = told(api, session)
    assert links.shape == (18, 37) and (links.sum(1) == 3).all() and (links[:, -1] == 0).all()
    leads = {
        (int(row[:16].argmax()), int(row[16:20].argmax())): int(row[20:36].argmax())
        for row in links
    }
    assert len(leads) == 18, "no station has two links of one label"
    page.select_option("#from", label="Zoo")
    assert page.is_disabled("[data-label='3']"), "it is the end of the line"
    for label in (2, 2, 0):
        page.click(f"[data-label='{label}']")
    assert page.inner_text("#route") == (
        "From Zoo take Orange south, then Orange south, then Blue east."
    )
    page.click("#ask")
    page.wait_for_selector("#answer li")
    asked, answers = told(api, session)[18:], told(api, session, "outputs")[18:].argmax(1)
    at, way = 6, list[int]()
    for row, label in zip(asked, (2, 2, 0), strict=True):
        assert row[:16].tolist() == (np.eye(16)[6] if not way else np.zeros(16)).tolist()
        assert row[16:20].argmax() == label and row[20:36].sum() == 0 and row[36] == 1
        way.append(at := leads[at, label])
    said = page.locator("#answer li").all_inner_texts()
    assert answers.tolist() == way and all(": right" in line for line in said)
    assert page.inner_text("#verdict") == "3 of 3 stations right."
    visit.shot("metro")
    page.click("#random")
    page.click("#ask")
    page.wait_for_selector("#answer li >> nth=2")
    assert len(told(api, session)) == 18 + 3 + 3


def test_a_demo_whose_model_is_not_loaded_says_so(browser: Any, tmp_path: Path):
    with served(tmp_path, Path(ZOO) / "copy" / "bundle") as server:
        page = browser.new_page()
        page.goto(f"{server.url}/explorer")
        page.wait_for_selector("[data-demo]")
        assert page.locator("[data-demo=copy] a").is_visible()
        assert page.locator("[data-demo] .missing").count() == 4
        page.goto("about:blank")
        page.goto(f"{server.url}/explorer#demo=metro")
        page.wait_for_selector("p.missing")
        assert page.inner_text("p.missing") == "Its model is not loaded on this server."
        page.context.close()
