// {kind: "glyph", height, width, labels, told: "before"}: a drawing, row by row, and one hot the label
// that is told with it: that of the drawing before.

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
    rows: () => [[...drawing.bits().flat(), ...Array.from({ length: labels }, (_, at) => Number(at === Number(label.value)))]],
    random: () => drawing.random(),
  };
}
