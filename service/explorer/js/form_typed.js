// {kind: "numbers", numbers: [names], input: {typed, values}, side, pad: {blank}}: numbers that are typed
// onto a scratch pad, a column a row: the first digits first, or from a list that begins at the left, the
// last first. Rows of zeros let the program go on.

import { h } from "./dom.js";

export function typed(model) {
  const { numbers } = model.form;
  const fields = numbers.map((name) => h("input", { type: "text", inputmode: "numeric", pattern: "[0-9]*", value: "", "data-name": name }));
  return {
    size: model.input.dims[0],
    element: h("div", { class: "bits", role: "group", "aria-label": "The numbers" },
      fields.map((field) => h("label", { class: "inline" }, `${field.dataset.name} `, field)),
      h("p", { class: "quiet" }, "Step types them; rows of zeros let the program run.")),
    rows: () => typedRows(model, fields.map((field) => field.value.trim())),
    random: () => fields.forEach((field) => { field.value = String(Math.floor(Math.random() * 1000)); }),
  };
}

/** The rows that type these numbers, strings of digits. */
export function typedRows(model, texts) {
  const { input, side, pad } = model.form;
  if (!texts.every((text) => /^\d+$/.test(text))) throw new Error(`Expected ${texts.length > 1 ? "numbers" : "a number"} of digits alone.`);
  const columns = Math.max(...texts.map((text) => text.length));
  const lines = texts.map((text) => [...new Array(columns - text.length).fill(pad.blank), ...Array.from(text, Number)]);
  const rows = Array.from({ length: columns }, (_, at) => {
    const row = new Array(model.input.dims[0]).fill(0);
    row[input.typed] = 1;
    lines.forEach((digits, which) => { row[input.values[0] + which] = digits[at]; });
    return row;
  });
  return side === "right" ? rows : rows.reverse();
}
