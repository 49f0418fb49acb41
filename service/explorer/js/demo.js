// A demo's page: one of its own, or a session that begins with what the demo gives it.

import { get, post } from "./api.js";
import { DEMOS, modelOf } from "./demos.js";
import { fill, h } from "./dom.js";

export async function showDemo(main, id, signal) {
  const demo = DEMOS.find((one) => one.id === id);
  if (!demo) throw new Error(`There is no demo "${id}".`);
  const model = modelOf(demo, (await get("/v1/models", {}, signal)).models);
  if (!model) {
    missing(main, demo, "Its model is not loaded on this server.");
    return;
  }
  const detail = await get(`/v1/models/${model.name}`, { version: model.version }, signal);
  const unfit = demo.unfit?.(detail);
  if (unfit) missing(main, demo, unfit);
  else if (demo.page) {
    const page = await demo.page();
    if (!signal.aborted) page.show(main, demo, model, detail);
  } else await begin(demo, model, detail, signal);
}

const missing = (main, demo, why) => fill(main, h("h1", {}, demo.title), h("p", {}, demo.text), h("p", { class: "missing" }, why), h("p", {}, h("a", { href: "#" }, "To the start page")));

/** A session with the demo's state and rows, looked at from its first row on. */
async function begin(demo, model, detail, signal) {
  const { state, rows } = demo.begin(detail);
  const made = await post(`/v1/models/${model.name}/sessions`, { version: model.version, ...(state && { state }) });
  await post(`/v1/sessions/${made.id}/steps`, { inputs: rows });
  if (!signal.aborted) location.replace(`#session=${made.id}&play=1`);
}
