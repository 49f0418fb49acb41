// Stepping by hand. The kind of form is data in the manifest, `form.kind`; a kind that is not in
// KINDS gets a row of numbers, so that every model can be stepped.

import { button, guarded, h } from "./dom.js";

/** kind -> (model, changed) => {element, row()}: one row of numbers, as the person has set it. */
export const KINDS = { bits };

export class Form {
  /** send(rows) steps the session. */
  constructor(model, send) {
    this.model = model;
    this.send = guarded(async (rows) => send(rows));
    const kind = KINDS[model.form?.kind] ?? numbers;
    this.entry = kind(model);
    const size = model.input.dims[0];
    this.times = h("input", { type: "number", min: "1", max: "256", value: "10", "aria-label": "How many rows" });
    const step = button("Step", guarded(() => send(this.entry.rows())), { class: "main", id: "step" });
    const blank = button("rows of zeros", () => this.send(Array.from({ length: Number(this.times.value) || 1 }, () => new Array(size).fill(0))), { id: "zeros" });
    this.element = h("section", { class: "card form", "aria-labelledby": "form-title" }, h("h2", { id: "form-title" }, "Step by hand"),
      this.entry.element, h("div", { class: "buttons" }, step, this.entry.random ? button("Random row", () => this.entry.random()) : null),
      h("div", { class: "buttons quiet" }, "or ", this.times, blank));
  }
}

/** form: {kind: "bits", width, flags: [names]}: toggles, the flags named. */
function bits(model) {
  const flags = model.form.flags ?? [];
  const size = model.input.dims[0];
  const width = model.form.width ?? size - flags.length;
  const set = new Array(size).fill(0);
  const toggles = set.map((_, at) => {
    const name = at < width ? `bit ${at + 1}` : (flags[at - width] ?? `flag ${at - width + 1}`);
    const toggle = button(at < width ? "0" : name, () => put(at, 1 - set[at]), { "aria-pressed": "false", "aria-label": name, class: at < width ? "bit" : "bit flag" });
    return toggle;
  });
  function put(at, value) {
    set[at] = value;
    toggles[at].setAttribute("aria-pressed", String(Boolean(value)));
    if (at < width) toggles[at].textContent = String(value);
  }
  return {
    element: h("div", { class: "bits", role: "group", "aria-label": "The row" }, toggles),
    rows: () => [[...set]],
    random: () => set.forEach((_, at) => put(at, at < width && Math.random() < 0.5 ? 1 : 0)),
  };
}

/** Any model: rows of numbers, one a line. */
function numbers(model) {
  const size = model.input.dims[0];
  const field = h("textarea", { id: "numbers", rows: "4", spellcheck: "false", "aria-describedby": "numbers-help" });
  field.value = new Array(size).fill(0).join(" ");
  return {
    element: h("div", {}, h("label", { for: "numbers" }, "Rows of numbers"), field,
      h("p", { class: "quiet", id: "numbers-help" }, `${size} numbers a line, with spaces or commas between them.`)),
    rows: () => field.value.trim().split("\n").map((line, at) => parsed(line, at, size)),
    random: () => { field.value = Array.from({ length: size }, () => Math.round(Math.random())).join(" "); },
  };
}

function parsed(line, at, size) {
  const row = line.trim().split(/[\s,]+/).filter(Boolean).map(Number);
  if (row.length !== size || row.some((value) => !Number.isFinite(value))) throw new Error(`Line ${at + 1}: expected ${size} numbers, got "${line.trim().slice(0, 60)}"`);
  return row;
}
