// A demo's page. The one of copying lets draw; the others begin a session with their model's form.

import { get, post } from "./api.js";
import { DEMOS, modelOf } from "./demos.js";
import { button, fill, guarded, h, say } from "./dom.js";

const COLUMNS = 16;
const INVADER = ["00100000100", "00010001000", "00111111100", "01101110110", "11111111111", "10111111101", "10100000101", "00011011000"];

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
      h("p", { class: "quiet" }, "Click or drag; or move with the arrow keys and press Space. Each column from the first to the last drawn one is a row for the network, which was trained on random patterns: long blank stretches may confuse it."),
      h("div", { class: "buttons" }, button("Watch it copy", go, { class: "main", id: "watch" }), button("Clear", () => grid.clear()), button("At random", () => grid.random()))));
}

/** The pattern, the delimiter, and as many rows of zeros, in which the network answers. */
async function send(model, detail, columns) {
  const size = detail.input.dims[0];
  const padded = (bits, flag) => [...bits, ...new Array(size - bits.length).fill(0).map((_, at) => (flag && at === 0 ? 1 : 0))];
  const width = columns[0].length;
  const rows = [...columns.map((bits) => padded(bits, false)), padded(new Array(width).fill(0), true), ...columns.map(() => padded(new Array(width).fill(0), false))];
  const made = await post(`/v1/models/${model.name}/sessions`, { version: model.version });
  const { outputs } = await post(`/v1/sessions/${made.id}/steps`, { inputs: rows });
  const answers = outputs.slice(columns.length + 1);
  const right = answers.flatMap((row, at) => row.map((value, bit) => Math.round(value) === columns[at][bit])).filter(Boolean).length;
  say(`It copied ${right} of ${columns.length * width} bits right.`);
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
    INVADER.slice(0, rows).forEach((line, row) => [...line].forEach((bit, column) => this.put(row, column + 2, bit === "1")));
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

  /** From the first to the last column that has something in it. */
  columns() {
    const all = Array.from({ length: COLUMNS }, (_, column) => this.cells.map((line) => Number(this.is(line[column]))));
    const drawn = (column) => column.includes(1);
    const found = all.slice(all.findIndex(drawn), all.findLastIndex(drawn) + 1);
    if (!found.some(drawn)) throw new Error("Draw something first.");
    return found;
  }

  clear() {
    for (const cell of this.cells.flat()) cell.setAttribute("aria-selected", "false");
  }

  random() {
    for (const cell of this.cells.flat()) cell.setAttribute("aria-selected", String(Math.random() < 0.5));
  }
}
