// A demo's page. The one of copying lets draw; the others begin a session with their model's form.

import { get, post } from "./api.js";
import { DEMOS, modelOf } from "./demos.js";
import { button, fill, guarded, h } from "./dom.js";

const COLUMNS = 16;
const HEART = ["0110110", "1111111", "1111111", "0111110", "0011100", "0001000"];

export async function showDemo(main, id) {
  const demo = DEMOS.find((one) => one.id === id);
  if (!demo) throw new Error(`There is no demo "${id}".`);
  const model = modelOf(demo, (await get("/v1/models")).models);
  if (!model) {
    fill(main, h("h1", {}, demo.title), h("p", {}, demo.text), h("p", { class: "missing" }, "Its model is not loaded on this server."), h("p", {}, h("a", { href: "#" }, "To the start page")));
    return;
  }
  if (!demo.draw) {
    const made = await post(`/v1/models/${model.name}/sessions`, { version: model.version });
    location.replace(`#session=${made.id}`);
    return;
  }
  const detail = await get(`/v1/models/${model.name}`, { version: model.version });
  const grid = new Drawing(detail.form?.width ?? detail.output.dims[0]);
  const go = guarded(() => send(model, detail, grid.columns()));
  fill(main, h("h1", {}, demo.title), h("p", {}, demo.text),
    h("section", { class: "card", "aria-labelledby": "draw" }, h("h2", { id: "draw" }, "Draw here"), grid.element,
      h("p", { class: "quiet" }, "Click or drag; or move with the arrow keys and press Space. Each column is one row for the network."),
      h("div", { class: "buttons" }, button("Watch it copy", go, { class: "main", id: "watch" }), button("Clear", () => grid.clear()), button("At random", () => grid.random()))));
}

/** The pattern, the delimiter, and as many rows of zeros, in which the network answers. */
async function send(model, detail, columns) {
  const size = detail.input.dims[0];
  const padded = (bits, flag) => [...bits, ...new Array(size - bits.length).fill(0).map((_, at) => (flag && at === 0 ? 1 : 0))];
  const width = columns[0].length;
  const rows = [...columns.map((bits) => padded(bits, false)), padded(new Array(width).fill(0), true), ...columns.map(() => padded(new Array(width).fill(0), false))];
  const made = await post(`/v1/models/${model.name}/sessions`, { version: model.version });
  await post(`/v1/sessions/${made.id}/steps`, { inputs: rows });
  location.hash = `session=${made.id}&play=1`;
}

/** A grid of toggles: arrow keys move, Space sets, a pointer draws. */
class Drawing {
  constructor(rows) {
    this.rows = rows;
    this.cells = Array.from({ length: rows }, (_, row) => Array.from({ length: COLUMNS }, (_, column) => this.cell(row, column)));
    this.element = h("div", { class: "drawing", role: "grid", "aria-label": "Pattern" }, this.cells.map((line) => h("div", { role: "row" }, line)));
    this.element.addEventListener("pointerdown", (event) => this.down(event));
    this.element.addEventListener("pointermove", (event) => this.move(event));
    this.element.addEventListener("keydown", (event) => this.key(event));
    addEventListener("pointerup", () => { this.ink = null; });
    HEART.slice(0, rows).forEach((line, row) => [...line].forEach((bit, column) => this.put(row + 1 < rows ? row + 1 : row, column + 4, bit === "1")));
    this.cells[0][0].tabIndex = 0;
  }

  cell(row, column) {
    return h("div", { role: "gridcell", class: "pixel", tabindex: "-1", "aria-selected": "false", "aria-label": `row ${row + 1}, column ${column + 1}`, "data-row": row, "data-column": column });
  }

  put(row, column, value) {
    this.cells[row]?.[column]?.setAttribute("aria-selected", String(value));
  }

  is(cell) {
    return cell.getAttribute("aria-selected") === "true";
  }

  down(event) {
    const cell = event.target.closest(".pixel");
    if (!cell) return;
    event.preventDefault();
    this.ink = !this.is(cell);
    cell.setAttribute("aria-selected", String(this.ink));
    this.focus(cell);
    event.target.releasePointerCapture?.(event.pointerId); // a finger would stay with the first cell
  }

  move(event) {
    if (this.ink === null || this.ink === undefined) return;
    const cell = document.elementFromPoint(event.clientX, event.clientY)?.closest(".pixel");
    cell?.setAttribute("aria-selected", String(this.ink));
  }

  key(event) {
    const cell = event.target.closest(".pixel");
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!cell || (!by && event.key !== " " && event.key !== "Enter")) return;
    event.preventDefault();
    if (by) this.focus(this.cells[Number(cell.dataset.row) + by[0]]?.[Number(cell.dataset.column) + by[1]]);
    else cell.setAttribute("aria-selected", String(!this.is(cell)));
  }

  focus(cell) {
    if (!cell) return;
    for (const one of this.cells.flat()) one.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  }

  columns() {
    return Array.from({ length: COLUMNS }, (_, column) => this.cells.map((line) => Number(this.is(line[column]))));
  }

  clear() {
    for (const cell of this.cells.flat()) cell.setAttribute("aria-selected", "false");
  }

  random() {
    for (const cell of this.cells.flat()) cell.setAttribute("aria-selected", String(Math.random() < 0.5));
  }
}
