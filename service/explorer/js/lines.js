// Lines over time, for what is one number a row: gates, strengths, sharpness. Drawn by uPlot.

import { fill, h, number } from "./dom.js";

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#b8a800"]; // Okabe and Ito
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const HEIGHT = 150;

export class Lines {
  /** series: [{title}], pick(column) when a place is clicked. */
  constructor(title, series, pick) {
    this.title = title;
    this.series = series;
    this.pick = pick;
    this.cursor = -1;
    this.place = h("div", { class: "lines", role: "img", "aria-label": title });
    this.table = h("details", { class: "numbers" }, h("summary", {}, "Numbers"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}: numbers` }));
    this.table.addEventListener("toggle", () => this.tabulate());
    this.element = h("figure", { class: "figure" }, h("figcaption", {}, h("span", { class: "title" }, title)), this.place, h("div", { class: "foot" }, this.table));
  }

  /** steps: one a column; values: one list a series, null for unknown; cursor: the column looked at. */
  show(steps, values, cursor) {
    this.data = [steps.map((_, at) => at), ...values];
    this.steps = steps;
    this.cursor = cursor;
    const width = this.place.clientWidth;
    if (!width) return;
    this.plot ??= this.made(width);
    if (this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
    this.plot.setData(this.data);
    this.tabulate();
  }

  made(width) {
    const ink = getComputedStyle(document.body).color;
    const axis = { stroke: ink, grid: { stroke: "rgba(127,127,127,.25)", width: 1 }, ticks: { show: false } };
    const plot = new window.uPlot({
      width, height: HEIGHT, legend: { show: true, live: false }, cursor: { points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((at) => this.steps[at] ?? "") }, { ...axis, size: 46 }],
      series: [{ label: "step" }, ...this.series.map(({ title }, at) => ({
        label: title, stroke: COLOURS[at % COLOURS.length], width: 2, dash: DASHES[Math.floor(at / COLOURS.length) % DASHES.length], points: { show: false },
      }))],
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

  tabulate() {
    if (!this.table.open || !this.data) return;
    const head = h("tr", {}, h("th", { scope: "col" }, "step"), this.series.map(({ title }) => h("th", { scope: "col" }, title)));
    const lines = this.steps.map((step, at) => h("tr", {}, h("th", { scope: "row" }, String(step)), this.data.slice(1).map((values) => h("td", {}, number(values[at], 3)))));
    fill(this.table.lastChild, h("table", {}, h("caption", {}, this.title), h("thead", {}, head), h("tbody", {}, lines)));
  }
}
