// Any model: rows of numbers, one a line; at first the row that its form names, where there is one.

import { h } from "./dom.js";

export function numbers(model) {
  const size = model.input.dims[0];
  const field = h("textarea", { id: "numbers", rows: "4", spellcheck: "false", "aria-describedby": "numbers-help" });
  field.value = (model.form?.row ?? new Array(size).fill(0)).join(" ");
  return {
    size,
    element: h("div", {}, h("label", { for: "numbers" }, "Rows of numbers"), field,
      h("p", { class: "quiet", id: "numbers-help" }, `${size} numbers a line, with spaces or commas between them.`)),
    rows: () => field.value.trim().split("\n").map((line, at) => parsed(line, at, size)),
    random: () => { field.value = Array.from({ length: size }, () => Math.round(Math.random())).join(" "); },
  };
}

function parsed(line, at, size) {
  const row = line.trim().split(/[\s,]+/).filter(Boolean).map(Number);
  if (row.length === size && row.every(Number.isFinite)) return row;
  throw new Error(`Line ${at + 1}: expected ${size} numbers, got "${line.trim().slice(0, 60)}"`);
}
