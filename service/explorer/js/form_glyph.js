// {kind: "glyph", height, width, labels, told: "before" | "with"}: a drawing, row by row, and one hot
// the label that is told with it: that of the drawing before, or its own.

import { button, h } from "./dom.js";
import { Drawing } from "./drawing.js";

export function glyph(model) {
  const { height, width, labels, told } = model.form;
  const drawing = new Drawing(height, width, "Glyph");
  const label = h("select", { id: "label" }, h("option", { value: "-1" }, "none"), Array.from({ length: labels }, (_, at) => h("option", { value: at }, String(at))));
  const asked = told === "before" ? "Label of the one before" : "Label";
  return {
    size: height * width + labels,
    element: h("div", {}, drawing.element,
      h("div", { class: "buttons" }, h("label", { class: "inline" }, `${asked} `, label), button("Clear", () => drawing.clear(), { class: "small" }))),
    rows: () => [glyphRow(model.form, drawing.bits(), Number(label.value))],
    random: () => drawing.random(),
  };
}

/** A row: a drawing's bits, and the label that is told with it; -1: none. */
export const glyphRow = ({ labels }, bits, label) => [...bits.flat(), ...Array.from({ length: labels }, (_, at) => Number(at === label))];
