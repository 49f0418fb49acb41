// Lines over time, for what is one number a row: gates, strengths, sharpness. Drawn by uPlot.

import { fill, h, number } from "./dom.js";
import { takers } from "./figure.js";
import { paintOn, shapes, svgOf } from "./line_art.js";

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#b8a800"]; // Okabe and Ito
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const HEIGHT = 150;

export class Lines {
  /** series: [{title}], pick(column) when a place is clicked. */
  constructor(title, series, pick) {
    this.title = title;
    this.series = series.map((one, at) => ({ ...one, colour: COLOURS[at % COLOURS.length], dash: DASHES[Math.floor(at / COLOURS.length) % DASHES.length] }));
    this.pick = pick;
    this.cursor = -1;
    this.place = h("div", { class: "lines", role: "img", "aria-label": title });
    this.table = h("details", { class: "numbers" }, h("summary", {}, "Numbers"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}: numbers` }));
    this.table.addEventListener("toggle", () => this.tabulate());
    this.element = h("figure", { class: "figure" }, h("figcaption", {}, h("span", { class: "title" }, title)), this.place, h("div", { class: "foot" }, this.table, takers(title, () => this.data && this.picture())));
  }

  /** steps: one a column; values: one list a series, null for unknown; cursor: the column looked at. */
  show(steps, values, cursor) {
    this.data = [steps.map((_, at) => at), ...values];
    this.steps = steps;
    this.cursor = cursor;
    this.place.setAttribute("aria-label", this.told());
    const width = this.place.clientWidth;
    if (!width) return;
    this.plot ??= this.made(width);
    if (this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
    this.plot.setData(this.data);
    this.tabulate();
  }

  /** What the lines say at the column looked at, for who does not see them. */
  told() {
    const now = this.data.slice(1).map((each) => each[this.cursor] ?? null);
    const said = this.series.flatMap(({ title }, at) => (now[at] === null ? [] : [`${title} ${number(now[at])}`]));
    const lines = `${this.title}: ${this.series.length} lines over steps ${this.steps[0]} to ${this.steps.at(-1)}.`;
    return said.length ? `${lines} At step ${this.steps[this.cursor]}: ${said.join(", ")}.` : lines;
  }

  made(width) {
    const axis = { stroke: () => getComputedStyle(document.body).color, grid: { stroke: "rgba(127,127,127,.25)", width: 1 }, ticks: { show: false } };
    const plot = new window.uPlot({
      width, height: HEIGHT, legend: { show: true, live: false }, cursor: { points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((at) => this.steps[at] ?? "") }, { ...axis, size: 46 }],
      series: [{ label: "step" }, ...this.series.map(({ title: label, colour, dash }) => ({ label, stroke: colour, width: 2, dash, points: { show: false } }))],
      hooks: { draw: [(drawn) => this.mark(drawn)] },
    }, this.data, this.place);
    plot.over.addEventListener("click", () => plot.cursor.idx !== null && this.pick(plot.cursor.idx));
    return plot;
  }

  mark(plot) {
    if (this.cursor < 0) return;
    const left = plot.valToPos(this.cursor, "x", true);
    plot.ctx.fillStyle = "rgba(127,127,127,.6)";
    plot.ctx.fillRect(left - 1, plot.bbox.top, 3, plot.bbox.height);
  }

  /** The lines as a picture to take away: see export.js. */
  picture() {
    const series = this.series.map((one, at) => ({ ...one, values: this.data[at + 1] }));
    const known = series.flatMap(({ values }) => values.filter((value) => value !== null));
    const range = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    const drawn = (width, height) => shapes(series, range, width, height);
    return {
      title: this.title, height: 2 * HEIGHT, ends: range.map((end) => number(end)).join(" to "),
      foot: `step ${this.steps[0]} – step ${this.steps.at(-1)}`, down: "",
      svg: (left, top, ...size) => svgOf(drawn(...size), left, top),
      paint: (context, left, top, ...size) => paintOn(context, drawn(...size), left, top),
    };
  }

  /** A column's numbers as the cells of a line, or one cell for all while they have not come. */
  cells(at) {
    const values = this.data.slice(1).map((each) => each[at]);
    if (values.every((value) => value === null)) return h("td", { colspan: String(values.length) }, "not loaded yet");
    return values.map((value) => h("td", {}, number(value, 3)));
  }

  tabulate() {
    if (!this.table.open || !this.data) return;
    const head = h("tr", {}, h("th", { scope: "col" }, "step"), this.series.map(({ title }) => h("th", { scope: "col" }, title)));
    const lines = this.steps.map((step, at) => h("tr", {}, h("th", { scope: "row" }, String(step)), this.cells(at)));
    fill(this.table.lastChild, h("table", {}, h("caption", {}, this.title), h("thead", {}, head), h("tbody", {}, lines)));
  }
}
