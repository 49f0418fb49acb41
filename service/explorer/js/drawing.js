// A grid that one draws on.

import { h } from "./dom.js";

/** A grid of toggles: arrow keys move, Space sets, a pointer draws. */
export class Drawing {
  /** rem: how wide a cell may be. changed() is called when somebody draws. */
  constructor(rows, columns, name, rem = 2.5, changed = () => {}) {
    this.changed = changed;
    this.cells = Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) => this.cell(row, column)));
    this.element = h("div", { class: "drawing", role: "grid", "aria-label": name }, this.cells.map((line) => h("div", { role: "row" }, line)));
    this.element.style.maxWidth = `${rem * columns}rem`;
    this.element.addEventListener("pointerdown", (event) => this.down(event));
    this.element.addEventListener("pointermove", (event) => this.move(event));
    this.element.addEventListener("keydown", (event) => this.key(event));
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
    this.changed();
    this.focus(cell);
    event.target.releasePointerCapture?.(event.pointerId); // a finger would stay with the first cell
  }

  move(event) {
    if (this.ink === undefined || !event.buttons) {
      this.ink = undefined; // the button was let go of, here or elsewhere
      return;
    }
    const cell = document.elementFromPoint(event.clientX, event.clientY)?.closest(".pixel");
    cell?.setAttribute("aria-selected", String(this.ink));
  }

  key(event) {
    const cell = event.target.closest(".pixel");
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!cell || (!by && event.key !== " " && event.key !== "Enter")) return;
    event.preventDefault();
    if (by) this.focus(this.cells[Number(cell.dataset.row) + by[0]]?.[Number(cell.dataset.column) + by[1]]);
    else {
      cell.setAttribute("aria-selected", String(!this.is(cell)));
      this.changed();
    }
  }

  focus(cell) {
    if (!cell) return;
    for (const one of this.cells.flat()) one.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  }

  /** What is drawn: rows of 0 and 1. */
  bits() {
    return this.cells.map((line) => line.map((cell) => Number(this.is(cell))));
  }

  /** Put lines of "0" and "1" in, so many columns from the left. */
  draw(lines, from) {
    lines.slice(0, this.cells.length).forEach((line, row) => [...line].forEach((bit, column) => this.put(row, column + from, bit === "1")));
  }

  clear() {
    for (const cell of this.cells.flat()) cell.setAttribute("aria-selected", "false");
  }

  random() {
    for (const cell of this.cells.flat()) cell.setAttribute("aria-selected", String(Math.random() < 0.5));
  }
}
