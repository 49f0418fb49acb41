"""How smoothly the explorer's page is looked at: first paint, and frames while one scrubs.

A real Chromium, on the cores that the server has too. One session of ROWS rows, all kept.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.service.serving import Server, served

ROWS, REQUEST = 10_000, 500
VISITS, MOVES = 9, 200
MOVED = (("nothing moves", 0), ("to the next row", 1), ("far apart", 37))
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SCRUB = """stride => new Promise(done => {
    const slider = document.getElementById("scrub"), times = [];
    let at = 1000;
    const frame = now => {
        times.push(now);
        if (times.length > MOVES) return done(times);
        if (stride) {
            slider.value = at += stride;
            slider.dispatchEvent(new Event("input"));
        }
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})""".replace("MOVES", str(MOVES))


def report(entry: Path, seconds: float) -> None:
    """Print both tables; without a Chromium say so. seconds: not used."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("\nframes: no Chromium: apt-get install chromium")
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (as large as it is)

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        models = Path(folder) / "models"
        shutil.copytree(entry / "bundle", models / entry.name)
        with served(Path(folder), models, NTM_HISTORY_ROWS=str(2 * ROWS)) as server:
            session = _stepped(server, entry.name)
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            print(_report(browser, f"{server.url}/explorer", session), flush=True)
            browser.close()


def _stepped(server: Server, model: str) -> str:
    random = np.random.default_rng(1)
    with server.client() as client:
        size = client.get(f"/v1/models/{model}").json()["input"]["dims"][0]
        session = client.post(f"/v1/models/{model}/sessions", json={}).json()["id"]
        for _ in range(0, ROWS, REQUEST):
            rows = random.integers(0, 2, (REQUEST, size)).tolist()
            path = f"/v1/sessions/{session}/steps"
            client.post(path, json={"inputs": rows}, timeout=60).raise_for_status()
    return session


def _report(browser: Any, url: str, session: str) -> str:
    paints = [_paint(browser, url) for _ in range(VISITS)]
    told = f"\nFirst contentful paint of {VISITS} visits, ms: median {np.median(paints):.0f}, "
    lines = [told + f"{min(paints):.0f} to {max(paints):.0f}; the first {paints[0]:.0f}", ""]
    lines += [f"| {ROWS:,} rows, {MOVES} frames: ms | p50 | p95 | longest |", "|---|---|---|---|"]
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{url}#session={session}")
    page.wait_for_function(f"() => document.getElementById('scrub')?.max >= {ROWS - 1}")
    page.wait_for_selector(".words li strong")
    for name, stride in MOVED:
        times = np.diff(page.evaluate(SCRUB, stride))
        p50, p95 = np.percentile(times, [50, 95])
        lines.append(f"| {name} | {p50:.1f} | {p95:.1f} | {times.max():.1f} |")
    return "\n".join(lines)


def _paint(browser: Any, url: str) -> float:
    """Of a browser that has been here before, but for the first."""
    with browser.new_page() as page:
        page.goto(url)
        page.wait_for_selector("[data-demo]")
        return float(page.evaluate(PAINT))
