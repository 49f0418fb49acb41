// A figure around a heat map: title, scale, what lies under the pointer, the numbers as a table for
// those who do not see the picture, and the picture to take away as PNG or SVG.

import { button, h, fill, number } from "./dom.js";
import { table } from "./colour.js";
import { draw, svgCells } from "./heatmap.js";
import { save } from "./export.js";

const TABLE_CELLS = 6000;

/**
 * Makes a figure. about: {title, wide (height in px), across, down, pick(column), note}.
 * Its `show(grid)` draws; grid is as in heatmap.js, with names of columns and rows:
 * {column: (at) => "step 7", row: (at) => "slot 3"}.
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
        h("span", { class: "take" }, this.taker("PNG"), this.taker("SVG"))));
    this.listen();
  }

  taker(kind) {
    return button(kind, () => this.grid && save(kind, this), { "aria-label": `${this.about.title}: save as ${kind}`, class: "small" });
  }

  listen() {
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => fill(this.under, this.about.across ?? ""));
    if (!this.about.pick) return;
    this.canvas.addEventListener("click", (event) => this.about.pick(this.cell(event)[0]));
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
    this.canvas.setAttribute("aria-label", `${this.about.title}: ${grid.rows} by ${grid.columns} numbers from ${number(this.range.low)} to ${number(this.range.high)}. ${grid.said ?? ""}`);
    if (this.table.open) this.tabulate();
  }

  /** Only where it says something new: a change of its text would lay out the page again. */
  legend() {
    const said = `${this.range.name} ${number(this.range.low)} ${number(this.range.high)}`;
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
    fill(this.under, `${this.grid.column(column)}, ${this.grid.row(row)}: ${Number.isNaN(value) ? "not loaded" : number(value, 3)}`);
  }

  /** The numbers as they stand, columns as lines of the table where there are more of them. */
  tabulate() {
    const { grid } = this;
    if (!grid) return;
    const most = Math.max(1, Math.floor(TABLE_CELLS / Math.max(grid.rows, 1)));
    const lines = Math.min(grid.columns, most);
    const first = Math.max(0, Math.min((grid.cursor ?? 0) - Math.floor(lines / 2), grid.columns - lines));
    const head = h("tr", {}, h("th", { scope: "col" }, ""), Array.from({ length: grid.rows }, (_, row) => h("th", { scope: "col" }, grid.row(row))));
    const body = Array.from({ length: lines }, (_, at) => h("tr", {}, h("th", { scope: "row" }, grid.column(first + at)),
      Array.from({ length: grid.rows }, (_, row) => h("td", {}, number(grid.data[row * grid.columns + first + at])))));
    fill(this.table.lastChild, h("table", {}, h("caption", {}, this.about.title), h("thead", {}, head), h("tbody", {}, body)));
  }

  /** The figure as an SVG document, on the page's ground, with its title and ends of its scale. */
  svg() {
    const [width, height, top] = [960, Math.max(160, Math.min(640, this.grid.rows * 8)), 44];
    const ink = getComputedStyle(document.body).color;
    const ground = getComputedStyle(document.body).backgroundColor;
    const text = (x, y, said, size, anchor = "start") => `<text x="${x}" y="${y}" font-family="system-ui, sans-serif" font-size="${size}" fill="${ink}" text-anchor="${anchor}">${escaped(said)}</text>`;
    const said = `${number(this.range.low)} to ${number(this.range.high)}`;
    const ends = `${this.grid.column(0)} – ${this.grid.column(this.grid.columns - 1)}`;
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height + top + 34}" viewBox="0 0 ${width} ${height + top + 34}"><rect width="100%" height="100%" fill="${ground}"/>${text(16, 28, this.about.title, 18)}${text(width - 16, 28, said, 14, "end")}<g shape-rendering="crispEdges">${svgCells(this.grid, 16, top, width - 32, height)}</g>${text(16, height + top + 22, ends, 14)}${text(width - 16, height + top + 22, this.about.down ?? "", 14, "end")}</svg>`;
  }
}

const escaped = (said) => said.replace(/[<>&"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
