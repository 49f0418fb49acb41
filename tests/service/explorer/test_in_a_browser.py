"""What a person does in the explorer, in Chromium, at the size of a desk's screen and a phone's."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model.npi_numbers import number_on
from model.tape import decode
from tests.service.explorer.conftest import FORMS, MODELS, Visit
from tests.service.serving import Server, until
from tests.service.test_routes_mutations import PATTERN, READ, WRITE
from tests.service.test_routes_sessions import create, step

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def api(explored: Server) -> Iterator[httpx.Client]:
    with explored.client() as client:
        yield client


@pytest.fixture
def copied(api: httpx.Client) -> str:
    """The id of a session that has seen six rows and answered them, one request each way."""
    session = create(api)["id"]
    step(api, f"/v1/sessions/{session}", WRITE).raise_for_status()
    step(api, f"/v1/sessions/{session}", READ).raise_for_status()
    return session


def where(page: Any) -> str:
    return page.inner_text(".where")


def wait_for(page: Any, text: str, place: str = ".where") -> None:
    page.wait_for_function(
        "([place, text]) => document.querySelector(place)?.textContent.includes(text)",
        arg=[place, text],
    )


def scrub(page: Any, row: int) -> None:
    page.evaluate(
        "row => { const s = document.getElementById('scrub'); s.value = row;"
        " s.dispatchEvent(new Event('input')); }",
        row,
    )


def memory_shown(page: Any) -> str:
    return page.get_attribute(".present canvas.heat >> nth=0", "aria-label")


def numbers_of(page: Any, title: str) -> np.ndarray:
    """A figure's numbers as its table has them, a line a column of the plot."""
    figure = page.locator("figure", has=page.get_by_text(title, exact=True)).first
    if figure.locator("details.numbers").get_attribute("open") is None:
        figure.locator("details.numbers > summary").click()
        figure.locator("details.numbers tbody tr").first.wait_for()
    lines = figure.locator("details.numbers tbody tr").all_inner_texts()
    return np.array([[float(cell) for cell in line.split("\t")[1:]] for line in lines])


def test_the_start_page_lists_demos_models_and_sessions(visit: Visit, copied: str):
    page = visit.open()
    page.wait_for_selector(f"text={copied}")
    row = page.locator("table.sessions tr", has_text=copied).inner_text()
    assert "copy 1" in row and "13" in row and "11.9 KiB" in row and "device" in row
    assert page.locator("[data-model]").count() == len(MODELS) + len(FORMS)
    assert page.locator("[data-demo=copy] a").is_visible()
    assert page.locator("[data-demo=metro] .missing").inner_text().startswith("Its model is not")
    visit.shot("start")


def test_a_drawn_pattern_is_copied_before_ones_eyes(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-demo=copy] a")
    page.wait_for_selector(".pixel")
    visit.shot("draw")
    page.click("text=Clear")
    for row, column in ((1, 0), (4, 0), (2, 1), (7, 3)):
        page.click(f".pixel[data-row='{row}'][data-column='{column}']")
    page.focus(".pixel[data-row='7'][data-column='3']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.click("#watch")
    drawn = np.zeros((5, 8))
    drawn[[0, 0, 1, 3, 4], [1, 4, 2, 7, 7]] = 1
    sent = np.zeros((11, 9))
    sent[:5, :8], sent[5, 8] = drawn, 1
    answer = api.post("/v1/models/copy/predict", json={"inputs": sent.tolist()}).json()["outputs"]
    right = (np.round(answer[6:]) == drawn).sum()
    page.wait_for_selector(f"#say.shown >> text=It copied {right} of 40 bits right.")
    page.wait_for_selector("#play")
    page.select_option(".player select", "30")
    wait_for(page, "row 11 of 11")
    session = re.search(r"session=(\w+)", page.url)
    assert session
    told = api.get(f"/v1/sessions/{session[1]}/history").json()["history"]
    assert told[0]["inputs"] == sent.tolist()
    visit.shot("copied")


def shown(api: httpx.Client, page: Any, tensor: str) -> np.ndarray:
    """A tensor of the session that the page came to, as the server has it."""
    page.wait_for_url(re.compile("session="))
    session = re.search(r"session=(\w+)", page.url)
    assert session
    state = api.get(f"/v1/sessions/{session[1]}/memory").json()["state"]
    (found,) = (part for part in state if part["name"] == tensor)
    return np.array(found["data"]).reshape(found["dims"])


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
    visit.shot("added")


def test_a_machine_follows_a_pointer_on_its_tape(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-demo=circuit] a")
    assert decode(shown(api, page, "tape"))[:6] == [9, 7, 1, 4, 9, 2]
    page.wait_for_selector("#play")
    assert page.input_value("#numbers") == "1"
    visit.shot("pointer")


def test_a_row_is_stepped_by_hand(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-model=copy] button")
    page.wait_for_selector("#step")
    wait_for(page, "no rows yet")
    assert memory_shown(page).startswith("Memory: 20 by 128 numbers")
    page.get_by_role("button", name="bit 2", exact=True).click()
    page.get_by_role("button", name="delimiter").click()
    page.click("#step")
    wait_for(page, "step 1 · row 1 of 1")
    page.click("#zeros")
    wait_for(page, "row 11 of 11")
    session = page.inner_text("h1")
    told = api.get(f"/v1/sessions/{session}/history").json()["history"]
    assert told[1]["inputs"] == [[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]
    assert told[0]["inputs"] == [[0.0] * 9] * 10


def test_a_model_of_any_form_is_stepped_by_numbers(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-model=other] button")
    page.fill("#numbers", "1 0.5 -2 0 0 0 0 0 3\n0,0,0,0,0,0,0,0,1")
    page.click("#step")
    wait_for(page, "row 2 of 2")
    session = page.inner_text("h1")
    told = api.get(f"/v1/sessions/{session}/history").json()["history"]
    assert told[0]["inputs"] == [[1.0, 0.5, -2.0] + [0.0] * 5 + [3.0], [0.0] * 8 + [1.0]]
    page.fill("#numbers", "1 2")
    page.click("#step")
    page.wait_for_selector("#say.shown >> text=Line 1: expected 9 numbers")
    assert "row 2 of 2" in where(page)


def begun(page: Any, model: str) -> str:
    page.click(f"[data-model={model}] button")
    page.wait_for_selector("#step")
    return page.inner_text("h1")


def sent(api: httpx.Client, session: str) -> list[list[float]]:
    told = api.get(f"/v1/sessions/{session}/history").json()["history"]
    return told[0]["inputs"]


def test_a_form_whose_rows_do_not_fit_the_model_gives_way_to_numbers(visit: Visit):
    page = visit.open()
    begun(page, "longer")
    assert page.input_value("#numbers") == " ".join("0" * 9)


def test_an_edge_and_a_query_are_chosen(visit: Visit, api: httpx.Client):
    page = visit.open()
    session = begun(page, "edges")
    for part, choice in (("source", "2"), ("target", "0")):
        page.select_option(f"select[data-name={part}]", choice)
    page.click("text=query")
    page.click("#step")
    wait_for(page, "row 1 of 1")
    assert sent(api, session) == [[0, 0, 1, 0, 0, 1, 0, 0, 1]]


def test_a_glyph_is_drawn_and_named(visit: Visit, api: httpx.Client):
    page = visit.open()
    session = begun(page, "glyphs")
    page.click(".pixel[data-row='0'][data-column='1']")
    page.click(".pixel[data-row='2'][data-column='0']")
    page.select_option("#label", "1")
    page.click("#step")
    wait_for(page, "row 1 of 1")
    assert sent(api, session) == [[0, 1, 0, 0, 1, 0, 0, 1, 0]]
    visit.shot("glyph")


def test_a_number_beside_the_bits_is_sent_as_the_model_was_trained_on_it(
    visit: Visit, api: httpx.Client
):
    page = visit.open()
    session = begun(page, "repeats")
    page.get_by_role("button", name="delimiter").click()
    page.fill("input[data-name=repeats]", "7")
    page.click("#step")
    wait_for(page, "row 1 of 1")
    assert sent(api, session) == [[0] * 7 + [1, 0.75]]


def test_the_plots_have_the_sessions_own_numbers(visit: Visit, api: httpx.Client, copied: str):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    assert numbers_of(page, "Inputs").tolist() == [*WRITE, *READ]
    assert np.round(numbers_of(page, "Outputs")[-6:]).tolist() == PATTERN
    page.wait_for_selector(".present canvas[aria-label*='After step 13']")
    memory = api.get(f"/v1/sessions/{copied}/memory").json()["state"][0]
    held = np.array(memory["data"]).reshape(128, 20)
    page.wait_for_function(
        "() => !document.querySelector('.words').textContent.includes('Loading')"
    )
    assert numbers_of(page, "Memory") == pytest.approx(held, abs=0.0051)
    page.check("#all-slots")
    shown = numbers_of(page, "Read weights")
    assert shown.shape == (13, 128)
    reads = [t for t in api.get(f"/v1/sessions/{copied}/memory").json()["state"]][1]["data"]
    assert shown[-1] == pytest.approx(np.array(reads), abs=0.0051)


def test_one_looks_back_by_scrubbing_playing_clicking_and_by_keys(visit: Visit, copied: str):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    scrub(page, 2)
    wait_for(page, "step 3 · row 3 of 13")
    page.wait_for_selector(".present canvas[aria-label*='After step 3.']")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    wait_for(page, "step 4 ")
    box = page.locator("canvas.heat").first.bounding_box()
    page.locator("canvas.heat").first.click(position={"x": box["width"] * 8.5 / 13, "y": 5})
    wait_for(page, "step 9 ")
    page.keyboard.press("ArrowLeft")  # on the plot that was clicked
    wait_for(page, "step 8 ")
    assert page.inner_text("#play") == "Play"
    page.select_option(".player select", "30")
    page.click("#play")
    wait_for(page, "step 13 ")
    wait_for(page, "Play", "#play")


def test_what_others_step_shows_at_once(visit: Visit, api: httpx.Client, copied: str):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    wait_for(page, "· live", ".facts")
    step(api, f"/v1/sessions/{copied}", WRITE[:2]).raise_for_status()
    wait_for(page, "step 15 · row 15 of 15")
    page.wait_for_selector(".present canvas[aria-label*='After step 15.']")
    scrub(page, 0)
    step(api, f"/v1/sessions/{copied}", WRITE[2:3]).raise_for_status()
    wait_for(page, "step 1 · row 1 of 16")  # who looks back is left there
    page.click("#live")
    wait_for(page, "row 16 of 16")


def test_it_is_said_why_the_heads_are_where_they_are(visit: Visit, api: httpx.Client, copied: str):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    scrub(page, 9)
    told = api.get(f"/v1/sessions/{copied}/explain").json()["rows"][9]
    for head in told["heads"]:
        wait_for(page, f"The {head['kind']} head is on slot {head['slot']}", ".words")
    said = page.inner_text(".words >> nth=0")
    assert "What it reads was written 6 rows ago." in said or told["heads"][1]["age"] != 6
    assert "Slots nearest to its key" in said


def test_a_session_is_rewound_for_real_and_that_undone(
    visit: Visit, api: httpx.Client, copied: str
):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    scrub(page, 8)
    wait_for(page, "step 9 ")
    page.click("#rewind")
    page.wait_for_selector("#say.shown >> text=Rewound to step 9")
    assert api.get(f"/v1/sessions/{copied}").json()["step"] == 9
    wait_for(page, "back to step 9", ".marks")
    scrub(page, 11)
    wait_for(page, "(left behind by going back)")
    visit.shot("rewound")
    page.click("#say >> text=Undo")
    until(lambda: api.get(f"/v1/sessions/{copied}").json()["step"] == 13)


def test_a_fork_goes_its_own_way_and_the_difference_is_drawn(
    visit: Visit, api: httpx.Client, copied: str
):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    scrub(page, 6)
    wait_for(page, "step 7 ")
    page.click("#fork")
    page.wait_for_selector("#say.shown >> text=Forked at step 7.")
    fork = page.input_value("#other")
    assert api.get(f"/v1/sessions/{fork}").json()["forked_from"] == copied
    wait_for(page, "At step 7 both hold the same.", "#difference")
    step(api, f"/v1/sessions/{fork}", WRITE[:6]).raise_for_status()
    page.click("#live")
    wait_for(page, "At step 13 they differ by up to", "#difference")
    ours, theirs = (
        np.array(api.get(f"/v1/sessions/{one}/memory").json()["state"][0]["data"])
        for one in (copied, fork)
    )
    shown = numbers_of(page, "Difference, this less the other")
    assert shown.ravel() == pytest.approx(ours - theirs, abs=0.011)
    assert abs(shown).max() > 0.1
    visit.shot("compared")
    page.goto("about:blank")
    page.goto(f"{visit.url}/explorer#session={fork}&compare={copied}")
    wait_for(page, "At step 13 they differ by up to", "#difference")


def test_figures_are_saved_as_png_and_svg_and_the_trace_as_json(
    visit: Visit, copied: str, tmp_path: Path
):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    page.wait_for_selector(".present canvas[aria-label*='After step 13.']")

    def saved(selector: str) -> Path:
        with page.expect_download() as coming:
            page.click(selector)
        path = tmp_path / coming.value.suggested_filename
        coming.value.save_as(path)
        return path

    picture = saved("[aria-label='Memory: save as PNG']")
    data = picture.read_bytes()
    assert picture.name == "memory.png" and data.startswith(PNG) and len(data) > 5000
    assert int.from_bytes(data[16:20]) == 1920, "wide enough for a slide"
    drawn = saved("[aria-label='Inputs: save as SVG']").read_text()
    cells = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}rect")
    assert len({cell.get("fill") for cell in cells}) >= 3, "the ground, zeros and ones"
    trace = json.loads(saved("#take-trace").read_text())
    assert (trace["step"], len(trace["revisions"])) == (1, 13)
    assert {t["name"] for t in trace["trace"]} >= {"read_key", "write_erase"}


def test_a_session_that_is_not_there_is_said_so(visit: Visit):
    visit.page.goto(f"{visit.url}/explorer#session=nobody")
    visit.page.wait_for_selector("text=This cannot be shown")
    assert "nobody" in visit.page.inner_text("main")
    visit.wrong = [said for said in visit.wrong if "404" not in said]  # the browser logs it
