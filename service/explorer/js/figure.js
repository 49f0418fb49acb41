// A figure around a heat map: title, scale, what lies under the pointer, the numbers as a table for
// those who do not see the picture, and the picture to take away as PNG or SVG.

import { button, h, fill, number } from "./dom.js";
import { table } from "./colour.js";
import { draw, paintCells, svgCells } from "./heatmap.js";
import { save } from "./export.js";

const TABLE_CELLS = 6000;
const WAITS = "Not loaded yet.";

/** Buttons that save a figure. picture: what gives it, nothing while there is none. */
export function takers(title, picture) {
  const take = (kind) => {
    const made = picture();
    return made && save(kind, made);
  };
  return h("span", { class: "take" }, ["PNG", "SVG"].map((kind) => button(kind, () => take(kind), { "aria-label": `${title}: save as ${kind}`, class: "small" })));
}

/**
 * Makes a figure. about: {title, size ("xs" to "l", or "square"), across, down, pick(column)}.
 * Its `show(grid)` draws; grid is as in heatmap.js, with names of columns and rows:
 * {column: (at) => "step 7", row: (at) => "slot 3"}, and where numbers come later, which columns
 * have not yet: {loading: (at) => true}.
 */
export class Figure {
  constructor(about) {
    this.about = about;
    this.grid = null;
    this.canvas = h("canvas", { role: "img", tabindex: about.pick ? "0" : null, class: "heat", "data-height": about.size ?? "m" });
    this.under = h("span", { class: "under" }, about.across ?? ""); // of one width, so that nothing moves under the pointer
    this.key = h("span", { class: "key" });
    this.ramp = h("canvas", { class: "ramp", width: "64", height: "8", "aria-hidden": "true" });
    this.table = h("details", { class: "numbers" }, h("summary", {}, "Numbers"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${about.title}: numbers` }));
    this.table.addEventListener("toggle", () => this.table.open && this.tabulate());
    this.element = h("figure", { class: "figure" },
      h("figcaption", {}, h("span", { class: "title" }, about.title), this.key),
      h("div", { class: "plot" }, h("span", { class: "down", "aria-hidden": "true" }, about.down ?? ""), this.canvas),
      h("div", { class: "foot" }, this.under, this.table,
        takers(about.title, () => this.grid && this.picture())));
    this.listen();
  }

  listen() {
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => fill(this.under, this.about.across ?? ""));
    if (!this.about.pick) return;
    this.canvas.addEventListener("click", (event) => this.grid && this.about.pick(this.cell(event)[0]));
    this.canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || !this.grid) return;
      event.preventDefault();
      this.about.pick(Math.max(0, Math.min(this.grid.columns - 1, (this.grid.cursor ?? 0) + by)));
    });
  }

  show(grid) {
    this.grid = grid;
    if (!this.canvas.clientWidth) return; // folded away
    this.range = draw(this.canvas, grid);
    this.legend();
    const awaited = this.awaited();
    const range = awaited === WAITS ? "" : ` from ${number(this.range.low)} to ${number(this.range.high)}`;
    this.canvas.setAttribute("aria-label", `${this.about.title}: ${grid.rows} by ${grid.columns} numbers${range}. ${[awaited, awaited === WAITS ? "" : grid.said].filter(Boolean).join(" ")}`);
    if (this.table.open) this.tabulate();
  }

  /** Only where it says something new: a change of its text would lay out the page again. */
  legend() {
    const said = `${this.range.name} ${number(this.range.low)} ${number(this.range.high)} ${matchMedia("(prefers-color-scheme: dark)").matches}`;
    if (said === this.told) return;
    this.told = said;
    const context = this.ramp.getContext("2d");
    const image = context.createImageData(64, 8);
    const colours = table(this.range.name);
    for (let at = 0; at < 64 * 8; at++) {
      const place = 3 * Math.floor(((at % 64) / 63) * 255);
      image.data.set([colours[place], colours[place + 1], colours[place + 2], 255], 4 * at);
    }
    context.putImageData(image, 0, 0);
    fill(this.key, number(this.range.low), this.ramp, number(this.range.high));
  }

  cell(event) {
    const box = this.canvas.getBoundingClientRect();
    const across = Math.floor(((event.clientX - box.left) / box.width) * this.grid.columns);
    const down = Math.floor(((event.clientY - box.top) / box.height) * this.grid.rows);
    return [Math.max(0, Math.min(this.grid.columns - 1, across)), Math.max(0, Math.min(this.grid.rows - 1, down))];
  }

  point(event) {
    if (!this.grid || !this.grid.data.length) return;
    const [column, row] = this.cell(event);
    const value = this.grid.data[row * this.grid.columns + column];
    fill(this.under, `${this.grid.column(column)}, ${this.grid.row(row)}: ${Number.isNaN(value) ? this.absent(column) : this.grid.value?.(value) ?? number(value, 3)}`);
  }

  /** What is said of a cell without a number: its column has not come yet, or there is none. */
  absent(column) {
    return this.grid.loading?.(column) ? "not loaded yet" : "nothing";
  }

  /** How many columns have not come yet, said as a sentence. */
  awaited() {
    const { columns, loading } = this.grid;
    let count = 0;
    for (let at = 0; loading && at < columns; at++) count += loading(at);
    if (!count) return "";
    return count === columns ? WAITS : `${count} of ${columns} columns not loaded yet.`;
  }

  /** The numbers as they stand, columns as lines of the table where there are more of them. */
  tabulate() {
    const { grid } = this;
    if (!grid) return;
    const most = Math.max(1, Math.floor(TABLE_CELLS / Math.max(grid.rows, 1)));
    const lines = Math.min(grid.columns, most);
    const first = Math.max(0, Math.min((grid.cursor ?? 0) - Math.floor(lines / 2), grid.columns - lines));
    const head = h("tr", {}, h("th", { scope: "col" }, ""), Array.from({ length: grid.rows }, (_, row) => h("th", { scope: "col" }, grid.row(row))));
    const body = Array.from({ length: lines }, (_, at) => h("tr", {}, h("th", { scope: "row" }, grid.column(first + at)), this.cells(first + at)));
    fill(this.table.lastChild, h("table", {}, h("caption", {}, lines < grid.columns ? `${this.about.title}, ${grid.column(first)} to ${grid.column(first + lines - 1)}` : this.about.title), h("thead", {}, head), h("tbody", {}, body)));
  }

  /** A column's numbers as the cells of a line, or one cell for all while they have not come. */
  cells(column) {
    const { grid } = this;
    if (grid.loading?.(column)) return h("td", { colspan: String(Math.max(grid.rows, 1)) }, "not loaded yet");
    return Array.from({ length: grid.rows }, (_, row) => h("td", {}, this.written(grid.data[row * grid.columns + column])));
  }

  written(value) {
    return Number.isNaN(value) ? "–" : this.grid.value?.(value) ?? number(value);
  }

  /** The figure as a picture to take away: see export.js. */
  picture() {
    const { about, grid, range } = this;
    return {
      title: about.title, height: Math.max(160, Math.min(640, grid.rows * 8)), ends: `${number(range.low)} to ${number(range.high)}`,
      foot: `${grid.column(0)} – ${grid.column(grid.columns - 1)}`, down: about.down ?? "",
      svg: (...box) => svgCells(grid, ...box), paint: (context, ...box) => paintCells(context, grid, ...box),
    };
  }
}
