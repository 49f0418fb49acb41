"""What a person does in the explorer, in Chromium, at the size of a desk's screen and a phone's."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.explorer.conftest import FORMS, MODELS, Visit
from tests.service.serving import until
from tests.service.test_routes_mutations import PATTERN, READ, WRITE
from tests.service.test_routes_sessions import create, step

PNG = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"


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


def saved(page: Any, selector: str, folder: Path) -> Path:
    """The file that a click has the browser save."""
    with page.expect_download() as coming:
        page.click(selector)
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    return path


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
    heads = page.locator("table.sessions thead th").all_inner_texts()
    assert heads[2:7] == ["State", "Step", "Age", "Tier", "Size"]
    assert "copy 1" in row and "13" in row and "11.9 KiB" in row and "device" in row
    assert page.locator("[data-model]").count() == len([*MODELS, *FORMS])
    assert page.locator("[data-demo] a").count() == 5
    visit.shot("start")


def test_the_start_page_says_which_sessions_are_being_stepped(
    visit: Visit, api: httpx.Client, copied: str
):
    page = visit.open()
    row = page.locator("table.sessions tr", has_text=copied)

    def is_told_of_a_step() -> bool:
        step(api, f"/v1/sessions/{copied}", READ[:1]).raise_for_status()
        page.click("h1")  # the list stands still while it has the focus
        return "stepping" in row.inner_text()

    until(is_told_of_a_step)
    row.get_by_text("at rest, ").wait_for()
    assert "stepping" not in row.inner_text()


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


def test_a_row_is_stepped_by_hand(visit: Visit, api: httpx.Client):
    page = visit.open()
    page.click("[data-model=copy] button")
    page.wait_for_selector("#step")
    wait_for(page, "no rows yet")
    page.wait_for_selector(".present canvas[aria-label^='Memory: 20 by 128 numbers']")
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


def test_paused_it_stands_still_while_others_step(visit: Visit, api: httpx.Client, copied: str):
    step(api, f"/v1/sessions/{copied}", READ[:1] * 600).raise_for_status()
    visit.page.emulate_media(reduced_motion="no-preference")  # or it plays two rows a second
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 613 of 613")
    wait_for(page, "· live", ".facts")
    scrub(page, 0)
    page.select_option(".player select", "30")
    page.click("#play")
    wait_for(page, "Pause", "#play")
    page.wait_for_function(
        "() => Number(/row (\\d+) /.exec(document.querySelector('.where').textContent)[1]) > 3"
    )
    page.click("#play")
    wait_for(page, "Play", "#play")
    stood = where(page).split(" of ")[0]
    for more in range(1, 11):  # each takes longer than a row that is played
        step(api, f"/v1/sessions/{copied}", READ[:1]).raise_for_status()
        wait_for(page, f" of {613 + more} ")
        assert where(page).startswith(f"{stood} of ")
    page.click("#play")
    page.wait_for_function(
        "stood => !document.querySelector('.where').textContent.startsWith(stood)", arg=stood
    )


def test_what_has_not_come_yet_is_said_so_and_what_was_told_last_stays(
    visit: Visit, api: httpx.Client, copied: str
):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    wait_for(page, "· live", ".facts")
    page.wait_for_selector(".present canvas[aria-label*='After step 13.']")
    wait_for(page, "The write head is on slot", ".words")
    weights = page.locator("figure", has=page.get_by_text("Read weights", exact=True)).first
    weights.locator("summary").click()
    weights.locator("tbody tr").nth(12).wait_for(state="attached")
    assert "not loaded yet" not in weights.inner_text()
    held: list[Any] = []
    page.route(re.compile("/(trace|explain)[?]"), lambda route: held.append(route))
    step(api, f"/v1/sessions/{copied}", WRITE[:2]).raise_for_status()
    wait_for(page, "row 15 of 15")
    wait_for(page, "Of step 13, the newest that was looked at.", ".words")
    assert "After step 13." in memory_shown(page)
    label = weights.locator("canvas.heat").get_attribute("aria-label")
    assert "2 of 15 columns not loaded yet." in label
    lines = weights.locator("tbody tr").all_inner_texts()
    assert [line.split("\t")[1] for line in lines[13:]] == ["not loaded yet"] * 2
    until(lambda: page.evaluate("1") and held)
    page.unroute_all(behavior="ignoreErrors")  # which lets go of what was held
    page.wait_for_selector(".present canvas[aria-label*='After step 15.']")
    page.wait_for_selector(
        "figure canvas[aria-label^='Read weights: ']:not([aria-label*='loaded'])"
    )


def test_looks_that_nobody_asked_for_take_a_twenty_fifth_of_the_time(visit: Visit):
    page = visit.open()
    looks = page.evaluate(
        """async () => {
          const { Pace } = await import("/explorer/js/lane.js");
          const told = [];
          for (const took of [10, 400, 3000]) {
            let now = 0;
            const pace = new Pace(() => now);
            let [spent, count, longest] = [0, 0, 0];
            while (now < 600_000) {
              const left = pace.left();
              longest = Math.max(longest, left);
              now += left;
              await pace.counted(async () => { now += took; })();
              spent += took;
              count += 1;
            }
            told.push({ took, share: (spent - took - 100) / now, count, longest });
          }
          return told;
        }"""
    )
    assert all(one["share"] <= 1 / 25 for one in looks), looks
    assert looks[0]["longest"] == 300 and looks[0]["count"] > 1900, "those that cost little come"
    assert looks[1]["count"] >= 60 and looks[2]["count"] >= 8, "and none is put off for ever"


def test_it_is_said_why_the_heads_are_where_they_are(visit: Visit, api: httpx.Client, copied: str):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    scrub(page, 9)
    told = api.get(f"/v1/sessions/{copied}/explain").json()["rows"][9]
    for head in told["heads"]:
        wait_for(page, f"The {head['kind']} head is on slot {head['slot']}", ".words")
    wait_for(page, "Over steps 1 to 13", "[aria-labelledby=words-title]")
    said = page.inner_text(".words >> nth=0")
    age = next(head["age"] for head in told["heads"] if head["kind"] == "read")
    assert f"What it reads was written {age} rows ago." in said
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
    wait_for(page, "step 9 · row 9 of 13")  # where the session stands
    scrub(page, 11)
    wait_for(page, "(left behind by going back)")
    visit.shot("rewound")
    page.click("#say >> text=Undo")
    until(lambda: api.get(f"/v1/sessions/{copied}").json()["step"] == 13)
    wait_for(page, "step 13 · row 13 of 13")
    scrub(page, 11)
    wait_for(page, "step 12 ")
    assert "left behind" not in where(page)


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
    picture = saved(page, "[aria-label='Memory: save as PNG']", tmp_path)
    data = picture.read_bytes()
    assert picture.name == "memory.png" and data.startswith(PNG) and len(data) > 5000
    assert int.from_bytes(data[16:20]) == 1920, "wide enough for a slide"
    drawn = saved(page, "[aria-label='Inputs: save as SVG']", tmp_path).read_text()
    cells = ElementTree.fromstring(drawn).iter(f"{SVG}rect")
    assert len({cell.get("fill") for cell in cells}) >= 3, "the ground, zeros and ones"
    trace = json.loads(saved(page, "#take-trace", tmp_path).read_text())
    assert (trace["step"], len(trace["revisions"])) == (1, 13)
    assert {t["name"] for t in trace["trace"]} >= {"read_key", "write_erase"}


def test_lines_of_single_numbers_are_saved_as_png_and_svg(
    visit: Visit, api: httpx.Client, copied: str, tmp_path: Path
):
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    page.click(".more > summary")
    told = {t["name"]: t["data"] for t in api.get(f"/v1/sessions/{copied}/trace").json()["trace"]}
    title = "One number a row: gates, strengths, sharpness"
    figure = page.locator("figure", has=page.get_by_text(title, exact=True))
    figure.locator("details summary").click()
    page.wait_for_function(
        "place => !place.textContent.includes('not loaded yet')",
        arg=figure.locator("details tbody").element_handle(),
    )
    names = figure.locator("details th[scope=col]").all_inner_texts()[1:]
    label = figure.locator(".lines").get_attribute("aria-label")
    assert label.startswith(f"{title}: {len(names)} lines over steps 1 to 13. At step 13: ")
    assert all(f"{name} " in label for name in names)
    drawn = ElementTree.fromstring(
        saved(page, f"[aria-label='{title}: save as SVG']", tmp_path).read_text()
    )
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert texts[0] == title and set(names) < set(texts)
    lines = [line.get("points", "").split() for line in drawn.iter(f"{SVG}polyline")]
    lines = [[float(point.split(",")[1]) for point in line] for line in lines if len(line) == 13]
    assert len(lines) == len(names)
    gate = lines[names.index("Gates: write gate")]
    assert abs(np.corrcoef(gate, told["write_gate"])[0, 1]) > 0.999
    picture = saved(page, f"[aria-label='{title}: save as PNG']", tmp_path).read_bytes()
    assert picture.startswith(PNG) and int.from_bytes(picture[16:20]) == 1920
    assert {"0,114,178", "230,159,0"} <= colours_of(page, picture), "of the first two lines"


def colours_of(page: Any, picture: bytes) -> set[str]:
    """The colours of a PNG's pixels, as the browser decodes it."""
    found = page.evaluate(
        """async (bytes) => {
          const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
          const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
          context.drawImage(image, 0, 0);
          const { data } = context.getImageData(0, 0, image.width, image.height);
          const found = new Set();
          for (let at = 0; at < data.length; at += 4) found.add(data.slice(at, at + 3).join());
          return [...found];
        }""",
        list(picture),
    )
    return set(found)
