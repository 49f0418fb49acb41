"""What the explorer makes of answers that do not come, of what it missed and of what is gone."""

import re
from typing import Any

import httpx

from tests.service.explorer.conftest import Visit
from tests.service.explorer.test_in_a_browser import copied, scrub, wait_for
from tests.service.serving import until
from tests.service.test_routes_mutations import READ, WRITE
from tests.service.test_routes_sessions import create, step

__all__ = ["copied"]  # a fixture


def test_a_session_that_is_not_there_is_said_so(visit: Visit):
    visit.page.goto(f"{visit.url}/explorer#session=nobody")
    visit.page.wait_for_selector("text=This cannot be shown")
    assert "nobody" in visit.page.inner_text("main")
    visit.forgive(404)


def test_what_failed_is_fetched_once_more(visit: Visit, copied: str):
    page, refused = visit.page, list[str]()

    def refuse(route: Any) -> None:
        refused.append(route.request.url)
        problem = {"code": "overloaded", "detail": "Nobody can look now."}
        route.fulfill(status=503, content_type="application/problem+json", json=problem)

    page.route(re.compile("/(trace|explain)[?]"), refuse)
    visit.open(f"#session={copied}")
    wait_for(page, "row 13 of 13")
    wait_for(page, "Nobody can look now.", ".words")
    assert {re.sub(".*/([a-z]+)[?].*", r"\1", url) for url in refused} == {"trace", "explain"}
    page.unroute_all()
    page.wait_for_selector(".present canvas[aria-label*='After step 13.']")
    wait_for(page, "The write head is on slot", ".words")
    visit.forgive(503)


def test_who_missed_events_reads_all_anew_and_takes_those_that_come_meanwhile(
    visit: Visit, api: httpx.Client, copied: str
):
    page = visit.open()
    page.evaluate(
        """async (id) => {
          const { Log } = await import("/explorer/js/log.js");
          window.log = new Log(id, () => {}, () => {});
          log.signal = AbortSignal.timeout(60000);
          await log.reload();
        }""",
        copied,
    )
    step(api, f"/v1/sessions/{copied}", WRITE[:2]).raise_for_status()  # of which it is not told
    assert page.evaluate("log.rows.length") == 13
    told = page.evaluate(
        """async () => {
          const { revision } = log;
          const done = new Promise((resolve) => { log.changed = resolve; });
          log.tell("missed", {});
          log.tell("reset", { step: 0, revision: revision + 2 });
          await done;
          return { rows: log.rows.length, revision: log.revision - revision, read: log.read_anew,
            left: log.rows.filter((row) => row.left).length, last: log.marks.at(-1).kind };
        }"""
    )
    assert told == {"rows": 15, "revision": 2, "read": 2, "left": 15, "last": "reset"}


def test_to_a_row_left_behind_within_a_request_one_cannot_go_back(
    visit: Visit, api: httpx.Client, copied: str
):
    session = f"/v1/sessions/{copied}"
    api.post(f"{session}/restore", json={"step": 3}).raise_for_status()
    step(api, session, READ[:3]).raise_for_status()
    page = visit.open(f"#session={copied}")
    wait_for(page, "row 16 of 16")
    for row, gone in ((4, True), (6, False), (2, False)):
        scrub(page, row)
        wait_for(page, f"row {row + 1} of 16")
        page.wait_for_function(
            "gone => ['rewind', 'fork'].every(id => document.getElementById(id).disabled === gone)",
            arg=gone,
        )
    scrub(page, 4)
    page.wait_for_selector("#fork[title*='within a request']")
    scrub(page, 6)
    wait_for(page, "row 7 of 16")
    page.click("#rewind")
    page.wait_for_selector("#say.shown >> text=Rewound to step 7")
    assert api.get(session).json()["step"] == 7


def test_comparing_with_a_session_that_is_gone_ends_with_a_word(
    visit: Visit, api: httpx.Client, copied: str
):
    other = create(api)["id"]
    page = visit.open(f"#session={copied}&compare={other}")
    wait_for(page, "it stands at step 0", "#difference")
    api.delete(f"/v1/sessions/{other}").raise_for_status()
    page.wait_for_function("() => document.getElementById('other').value === ''")
    assert page.locator("#difference").is_hidden()
    page = visit.open(f"#session={copied}&compare={other}")
    page.wait_for_selector("#say.shown")
    assert other in page.inner_text("#say") and page.input_value("#other") == ""
    wait_for(page, "row 13 of 13")
    visit.forgive(404)


def test_more_sessions_are_shown_when_asked_for(visit: Visit, api: httpx.Client):
    made = [create(api)["id"] for _ in range(101)]
    page = visit.open()
    rows = page.locator("table.sessions tbody tr")
    assert rows.count() == 100
    page.click("text=Show more")
    page.wait_for_function(
        "() => document.querySelectorAll('table.sessions tbody tr').length > 100"
    )
    shown = rows.locator("th").all_inner_texts()
    for session in made:
        api.delete(f"/v1/sessions/{session}").raise_for_status()
    assert set(made) <= set(shown)


def test_what_comes_too_late_does_not_cover_what_was_chosen_since(visit: Visit, copied: str):
    page, held = visit.open(), list[Any]()
    page.route(re.compile("/v1/models/copy"), lambda route: held.append(route))
    page.click(f"text={copied}")
    until(lambda: page.evaluate("1") and held)
    page.click("nav >> text=Start")
    page.wait_for_selector("h1 >> text=Watch a network")
    page.unroute_all(behavior="ignoreErrors")
    page.wait_for_load_state("networkidle")
    assert page.inner_text("h1") == "Watch a network read and write its memory"


def test_a_session_that_ends_elsewhere_is_said_to_have_ended(
    visit: Visit, api: httpx.Client, copied: str
):
    page = visit.open(f"#session={copied}")
    wait_for(page, "· live", ".facts")
    api.delete(f"/v1/sessions/{copied}").raise_for_status()
    wait_for(page, "· deleted", ".facts")
    scrub(page, 3)
    wait_for(page, "row 4 of 13")
    assert page.is_disabled("#fork") and page.is_disabled("#rewind")
    visit.forgive(404)


def test_a_row_outside_the_window_that_was_watched_is_explained_too(
    visit: Visit, api: httpx.Client, copied: str
):
    step(api, f"/v1/sessions/{copied}", WRITE[:1] * 47).raise_for_status()
    page = visit.open(f"#session={copied}")
    page.select_option("#window", "32")
    wait_for(page, "row 60 of 60")
    wait_for(page, "The write head is ", ".words")
    scrub(page, 9)
    wait_for(page, "row 10 of 60")
    told = api.get(f"/v1/sessions/{copied}/explain").json()["rows"][9]["heads"][0]
    wait_for(page, f"The {told['kind']} head is on slot {told['slot']}", ".words")


def test_without_a_key_nothing_hangs_and_one_that_no_header_carries_is_refused(visit: Visit):
    page = visit.page

    def keep(route: Any) -> None:
        if route.request.headers.get("authorization") == "Bearer right":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/problem+json", json={})

    page.route(re.compile("/v1/"), keep)
    page.goto(f"{visit.url}/explorer")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Without a key this server tells nothing.")
    page.reload()
    page.fill("#key", "wr\u200bong")
    page.click("dialog >> text=Go on")
    assert page.locator("#key:invalid").count() == 1
    page.fill("#key", "right")
    page.click("dialog >> text=Go on")
    page.wait_for_selector("[data-model=copy]")
    visit.forgive(401)
