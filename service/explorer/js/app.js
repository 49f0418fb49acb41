// Which view the address asks for: #session=ID&compare=ID&at=7&play=1, #demo=copy, or the start page.

import { choose, chosen } from "./colour.js";
import { fill, h } from "./dom.js";

const main = document.getElementById("main");
const scale = document.getElementById("scale");
let shown = new AbortController();

async function show() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const asked = new URLSearchParams(location.hash.slice(1));
  try {
    if (asked.has("session")) {
      const { SessionView } = await import("./session.js");
      if (!signal.aborted) await new SessionView(main, asked.get("session"), Object.fromEntries(asked), signal).open();
    } else if (asked.has("demo")) {
      const { showDemo } = await import("./demo.js");
      await showDemo(main, asked.get("demo"), signal);
    } else {
      const { showStart } = await import("./start.js");
      await showStart(main, signal);
    }
  } catch (error) {
    if (signal.aborted) return;
    fill(main, h("h1", {}, "This cannot be shown"), h("p", {}, error.detail ?? error.message), h("p", {}, h("a", { href: "#" }, "To the start page")));
  }
  if (signal.aborted) return;
  document.title = `${main.querySelector("h1")?.textContent ?? ""} · Memory explorer`;
}

scale.value = chosen();
scale.addEventListener("change", () => {
  choose(scale.value);
  document.dispatchEvent(new Event("ntm-scale"));
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which view it is
  main.focus();
});
addEventListener("hashchange", () => {
  show().then(() => main.focus({ preventScroll: true }));
  scrollTo(0, 0);
});
show();
