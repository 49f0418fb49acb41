// Plots over time, rows across: inputs, outputs, and each vector of the state and of the trace.
// What is over slots is drawn for those in use alone, unless one asks for all: the memory is a ring, so
// they are drawn from behind its widest unused stretch on.

import { h } from "./dom.js";
import { Figure } from "./figure.js";
import { Lines } from "./lines.js";
import { rowNames, valueNames } from "./names.js";
import { overTime, scalars } from "./series.js";

const OVER_SLOTS = new Set(["read_weights", "write_weights", "usage"]);
const IN_USE = 0.02; // a weight from which a slot counts as in use
const MARGIN = 1; // slots shown on either side of those in use
const COUNTS = [32, 64, 128, 256, 512];

/** The plots of one model, over a window of rows around the one that is looked at. */
export class OverTime {
  /** pick(at) is called with the place of a row that was clicked. changed(): another window. */
  constructor(model, traces, pick, changed) {
    this.traces = traces;
    this.first = 0;
    const usual = window.innerWidth < 700 ? 64 : 128;
    this.count = h("select", { id: "window", onchange: changed }, COUNTS.map((count) => h("option", { value: count, selected: count === usual }, `${count} rows`)));
    this.all = h("input", { type: "checkbox", id: "all-slots", onchange: changed });
    const here = (column) => pick(this.first + column);
    this.plots = overTime(model, traces.specs.small).map((series) => ({ ...series, names: rowNames(model, series.name), value: valueNames(model, series.name), figure: new Figure({
      title: series.title, pick: here, across: "rows, oldest first", size: series.rows > 64 ? "l" : series.rows > 12 ? "m" : "s",
    }) }));
    this.depth = model.state.find(({ role, dims }) => role === "counter" && dims[0] === 1 && dims.length === 1)?.name;
    this.numbers = scalars(traces.specs.small);
    this.lines = this.numbers.length ? new Lines("One number a row: gates, strengths, sharpness", this.numbers, here) : null;
    const shown = this.plots.filter(({ folded }) => !folded);
    const folded = this.plots.filter((plot) => plot.folded);
    this.more = h("details", { ontoggle: changed, class: "more" }, h("summary", {}, `What the heads emitted, and the rest of the state (${folded.length + Boolean(this.lines)} plots)`),
      folded.map(({ figure }) => figure.element), this.lines?.element);
    this.element = h("section", { class: "card", "aria-labelledby": "over-title" },
      h("div", { class: "bar" }, h("h2", { id: "over-title" }, "Over time"), h("div", { class: "buttons" }, h("label", { class: "inline" }, this.all, " all slots"), h("label", { class: "inline" }, "Show ", this.count))),
      shown.map(({ figure }) => figure.element), folded.length || this.lines ? this.more : null);
  }

  /** The rows that are in view around one: [first, past the last]. */
  span(at, total) {
    const count = Math.min(Number(this.count.value), total);
    this.first = Math.max(0, Math.min(at - Math.floor(count / 2), total - count));
    return [this.first, this.first + count];
  }

  show(log, at) {
    const [lo, hi] = this.span(at, log.rows.length);
    const rows = log.rows.slice(lo, hi);
    const tensors = rows.map((_, offset) => this.traces.row(lo + offset, "small")?.after);
    const depths = tensors.map((row) => row?.[this.depth]?.[0]);
    const faded = rows.some(({ left }) => left) ? rows.map(({ left }) => left) : null;
    const slots = this.all.checked ? null : inUse(this.plots, tensors);
    for (const plot of this.plots) {
      if (plot.folded && !this.more.open) continue;
      const shown = plot.role === "stack" ? frames(plot, depths) : slots && OVER_SLOTS.has(plot.role) && plot.rows === slots.of ? slots.which : null;
      const drawn = grid(plot, rows, tensors, faded, at - lo, shown);
      plot.figure.show(plot.role === "stack" ? masked(drawn, depths) : drawn);
    }
    if (this.lines && this.more.open) {
      const values = this.numbers.map(({ name, at: place }) => tensors.map((row) => row?.[name]?.[place] ?? null));
      this.lines.show(rows.map(({ step }) => step), values, at - lo);
    }
  }
}

/** The slots that some head or the usage is on in these rows, in order round the ring. */
function inUse(plots, tensors) {
  const over = plots.filter(({ role }) => OVER_SLOTS.has(role));
  const count = over[0]?.rows ?? 0;
  const used = new Array(count).fill(false);
  for (const plot of over) {
    for (const row of tensors) {
      const vector = row && plot.of(row);
      for (let slot = 0; vector && slot < count; slot++) used[slot] ||= vector[slot] > IN_USE;
    }
  }
  if (!used.includes(true)) return null;
  const wide = used.map((_, slot) => Array.from({ length: 2 * MARGIN + 1 }, (_, by) => used[(slot + by - MARGIN + count) % count]).includes(true));
  const begin = behindWidestGap(wide);
  const which = Array.from({ length: count }, (_, at) => (begin + at) % count).filter((slot) => wide[slot]);
  return { of: count, which };
}

function behindWidestGap(used) {
  let [best, begin, gap] = [0, 0, 0];
  for (let at = 0; at < 2 * used.length; at++) {
    gap = used[at % used.length] ? 0 : gap + 1;
    if (gap > best) [best, begin] = [gap, (at + 1) % used.length];
  }
  return begin;
}

/** The frames of a stack that are in use somewhere in these rows; null where that is not known. */
function frames(plot, depths) {
  const most = Math.max(0, ...depths.filter((depth) => depth !== undefined));
  return most ? Array.from({ length: Math.min(plot.rows, most) }, (_, at) => at) : null;
}

/** Frames above the depth are left over from calls that have returned: nothing is on them. */
function masked(grid, depths) {
  depths.forEach((depth, column) => {
    for (let row = depth ?? grid.rows; row < grid.rows; row++) grid.data[row * grid.columns + column] = NaN;
  });
  return grid;
}

/** slots: which of the vector's numbers to draw, in which order; null: all. */
function grid(plot, rows, tensors, faded, cursor, slots) {
  const drawn = slots ?? Array.from({ length: plot.rows }, (_, at) => at);
  const data = new Float32Array(drawn.length * rows.length).fill(NaN);
  rows.forEach((row, column) => {
    const vector = plot.of === null ? row[plot.name] : tensors[column] && plot.of(tensors[column]);
    for (let at = 0; vector && at < drawn.length; at++) data[at * rows.length + column] = vector[drawn[at]];
  });
  const what = OVER_SLOTS.has(plot.role) ? "slot" : plot.role === "stack" ? "frame" : "number";
  return {
    columns: rows.length, rows: drawn.length, data, fixed: plot.fixed, faded, cursor, value: plot.value,
    loading: plot.of === null ? null : (at) => !tensors[at],
    column: (at) => (rows[at] ? `step ${rows[at].step}` : ""), row: (at) => plot.names?.[drawn[at]] ?? `${what} ${drawn[at]}`,
    said: what === "slot" && rows[cursor] && tensors[cursor] ? `At step ${rows[cursor].step} the largest is on slot ${drawn[largest(data, drawn.length, rows.length, cursor)]}.` : "",
  };
}

function largest(data, rows, columns, column) {
  let best = 0;
  for (let row = 1; row < rows; row++) if (data[row * columns + column] > data[best * columns + column]) best = row;
  return best;
}
