// What a machine does, for models whose form tells how to read it: what is written in its cells, what it
// calls, which circuit it runs. Others have no such panel.

import { callsOf } from "./calls.js";
import { cellsOf } from "./cells.js";
import { circuitOf } from "./circuit.js";
import { h } from "./dom.js";

export class Machine {
  /** pick(at) is called with the place of a row that was clicked. */
  constructor(model, traces, pick) {
    this.traces = traces;
    this.cells = cellsOf(model);
    this.lists = [callsOf(model, pick), circuitOf(model)].filter(Boolean);
    const parts = [this.cells, ...this.lists].filter(Boolean);
    this.element = parts.length ? h("section", { class: "card machine", "aria-labelledby": "machine-title" },
      h("h2", { id: "machine-title" }, "What the machine does"), h("div", { class: "pair" }, parts.map(({ element }) => element))) : null;
  }

  /** log, the row looked at, and the rows in view from lo to before hi. */
  show(log, at, [lo, hi]) {
    if (!this.element) return;
    const places = Array.from({ length: hi - lo }, (_, offset) => lo + offset);
    const small = places.map((place) => this.traces.row(place, "small"));
    this.cells?.show({ ...small[at - lo]?.after, ...this.traces.row(at, "large")?.after });
    for (const list of this.lists) list.show(log.rows.slice(lo, hi), lo, at - lo, small);
  }
}
