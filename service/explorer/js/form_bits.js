// {kind: "bits", width, flags: [names], numbers: [{name, mean, deviation} or {name, lowest, highest}]}:
// bits to switch, then the flags by their names, then numbers to type.

import { button, h } from "./dom.js";

export function bits(model) {
  const { width, flags = [], numbers = [] } = model.form;
  const names = [...Array.from({ length: width }, (_, at) => `bit ${at + 1}`), ...flags];
  const set = new Array(names.length).fill(0);
  const toggles = names.map((name, at) => button(at < width ? "0" : name, () => put(at, 1 - set[at]), {
    "aria-pressed": "false", "aria-label": name, class: at < width ? "bit" : "bit flag",
  }));
  const fields = numbers.map((number) => h("input", { type: "number", step: "any", value: "0", "data-name": number.name }));
  function put(at, value) {
    set[at] = value;
    toggles[at].setAttribute("aria-pressed", String(Boolean(value)));
    if (at < width) toggles[at].textContent = String(value);
  }
  return {
    size: names.length + numbers.length,
    element: h("div", { class: "bits", role: "group", "aria-label": "The row" }, toggles,
      fields.map((field) => h("label", { class: "inline" }, `${field.dataset.name} `, field))),
    rows: () => [[...set, ...fields.map((field, at) => scaled(Number(field.value), numbers[at]))]],
    random: () => set.forEach((_, at) => put(at, at < width && Math.random() < 0.5 ? 1 : 0)),
  };
}

/** As the model was trained on it; 0 stands for none. */
const scaled = (value, { mean = 0, deviation = 1 }) => (value === 0 ? 0 : (value - mean) / deviation);
