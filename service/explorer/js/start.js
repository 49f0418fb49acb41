// The start page: demos, models and sessions.

import { get, post } from "./api.js";
import { DEMOS, modelOf } from "./demos.js";
import { ago, button, bytes, fill, guarded, h, span } from "./dom.js";

const AGAIN_MS = 3000;
const PAGE = 100;
const MOVING_S = 5; // since its last commit, as long as a session counts as being stepped

export async function showStart(main, signal) {
  const { models } = await get("/v1/models", {}, signal);
  const list = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Sessions" });
  let limit = PAGE;
  const more = button("Show more", guarded(() => {
    limit += PAGE;
    return refresh();
  }), { hidden: true });
  fill(main,
    h("h1", {}, "Watch a network read and write its memory"),
    h("section", { "aria-labelledby": "demos" }, h("h2", { id: "demos" }, "Try it"), h("ul", { class: "cards" }, DEMOS.map((demo) => demoCard(demo, models)))),
    h("section", { "aria-labelledby": "models" }, h("h2", { id: "models" }, "Models"), h("ul", { class: "cards" }, models.map(modelCard))),
    h("section", { "aria-labelledby": "sessions" }, h("h2", { id: "sessions" }, "Sessions"), list, more));
  async function refresh() {
    const { sessions, cursor } = await get("/v1/sessions", { limit: Math.min(limit, 1000) }, signal);
    more.hidden = !cursor || limit >= 1000;
    fill(list, sessions.length ? table(sessions) : h("p", { class: "quiet" }, "None yet: begin one above."));
  }
  await refresh();
  const timer = setInterval(() => document.hidden || list.contains(document.activeElement) || refresh().catch(() => {}), AGAIN_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function demoCard(demo, models) {
  const model = modelOf(demo, models);
  const foot = model ? h("a", { class: "button main", href: `#demo=${demo.id}` }, "Start") : h("p", { class: "quiet missing" }, "Its model is not loaded on this server.");
  return h("li", { class: "card", "data-demo": demo.id }, h("h3", {}, demo.title), h("p", {}, demo.text), foot);
}

function modelCard(model) {
  const begin = guarded(async () => {
    const made = await post(`/v1/models/${model.name}/sessions`, { version: model.version });
    location.hash = `session=${made.id}`;
  });
  return h("li", { class: "card", "data-model": model.name }, h("h3", {}, `${model.name} ${model.version}`),
    h("p", { class: "quiet" }, `${model.family} · ${model.task} · ${model.input_dims[0]} in, ${model.output_dims[0]} out · ${model.runtime} on ${model.device}`),
    button("New session", begin, { "aria-label": `New session of ${model.name} ${model.version}` }));
}

function table(sessions) {
  const heads = ["Session", "Model", "State", "Step", "Age", "Tier", "Size", "Ends in"];
  const now = Date.now() / 1000;
  return h("table", { class: "sessions" }, h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, sessions.map((one) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: `#session=${one.id}` }, one.id)), h("td", {}, `${one.model} ${one.version}`),
      h("td", {}, now - one.committed_at < MOVING_S ? "stepping" : `at rest, ${ago(one.committed_at)}`), h("td", { class: "right" }, String(one.step)), h("td", {}, ago(one.created_at)),
      h("td", {}, h("span", { class: `tier ${one.tier}` }, one.tier)), h("td", { class: "right" }, bytes(one.state_bytes)), h("td", {}, span(one.expires_at - now))))));
}
