// Stepping by hand. The kind of form is data in the manifest, `form.kind`; a kind that is not in
// KINDS gets rows of numbers, so that every model can be stepped.

import { button, guarded, h } from "./dom.js";
import { bits } from "./form_bits.js";
import { glyph } from "./form_glyph.js";
import { graph } from "./form_graph.js";
import { numbers } from "./form_numbers.js";
import { tape } from "./form_tape.js";
import { typed } from "./form_typed.js";

/** kind -> (model) => {element, rows(), random() or none}: rows of numbers, as the person has set them. */
export const KINDS = { bits, glyph, graph, numbers: typed, tape };

export class Form {
  /** send(rows) steps the session. */
  constructor(model, send) {
    const entry = this.entryOf(model);
    const size = model.input.dims[0];
    const times = h("input", { type: "number", min: "1", max: "256", value: "10", "aria-label": "How many rows" });
    const zeros = () => Array.from({ length: Number(times.value) || 1 }, () => new Array(size).fill(0));
    this.element = h("section", { class: "card form", "aria-labelledby": "form-title" }, h("h2", { id: "form-title" }, "Step by hand"),
      entry.element,
      h("div", { class: "buttons" }, button("Step", guarded(async () => send(entry.rows())), { class: "main", id: "step" }), entry.random ? button("Random row", () => entry.random()) : null),
      h("div", { class: "buttons quiet" }, "or ", times, button("rows of zeros", guarded(async () => send(zeros())), { id: "zeros" })));
  }

  /** The form of the model's kind, where its rows come out as long as the model takes them. */
  entryOf(model) {
    const made = KINDS[model.form?.kind]?.(model);
    const fits = made && made.size === model.input.dims[0];
    return fits ? made : numbers(model);
  }
}
