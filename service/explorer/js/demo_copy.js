// The demo of copying: a pattern is drawn, and the network writes and reads it back.

import { post } from "./api.js";
import { button, fill, guarded, h, say } from "./dom.js";
import { Drawing } from "./drawing.js";

const COLUMNS = 16;
const INVADER = ["00100000100", "00010001000", "00111111100", "01101110110", "11111111111", "10111111101", "10100000101", "00011011000"];

export function show(main, demo, model, detail) {
  const grid = new Drawing(detail.form?.width ?? detail.output.dims[0], COLUMNS, "Pattern");
  grid.draw(INVADER, 2);
  const go = guarded(() => send(model, detail, drawnColumns(grid)));
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

/** From the first to the last column that has something in it. */
function drawnColumns(grid) {
  const all = Array.from({ length: COLUMNS }, (_, column) => grid.bits().map((line) => line[column]));
  const drawn = (column) => column.includes(1);
  const found = all.slice(all.findIndex(drawn), all.findLastIndex(drawn) + 1);
  if (!found.some(drawn)) throw new Error("Draw something first.");
  return found;
}
