// {kind: "graph", parts: [{name, size}], flags: [names]}: an edge or a query; of each part one or none.

import { button, h } from "./dom.js";

export function graph(model) {
  const { parts, flags = [] } = model.form;
  const choices = parts.map(({ name, size }) => h("select", { "data-name": name }, h("option", { value: "-1" }, "–"),
    Array.from({ length: size }, (_, at) => h("option", { value: at }, String(at)))));
  const toggles = flags.map((name) => {
    const toggle = button(name, () => toggle.setAttribute("aria-pressed", String(toggle.getAttribute("aria-pressed") !== "true")), { "aria-pressed": "false", class: "bit flag" });
    return toggle;
  });
  return {
    size: parts.reduce((sum, { size }) => sum + size, 0) + flags.length,
    element: h("div", { class: "bits", role: "group", "aria-label": "The row" }, choices.map((choice) => h("label", { class: "inline" }, `${choice.dataset.name} `, choice)), toggles),
    rows: () => [rowOf(model.form, Object.fromEntries(choices.map((choice) => [choice.dataset.name, Number(choice.value)])),
      toggles.filter((toggle) => toggle.getAttribute("aria-pressed") === "true").map(({ textContent }) => textContent))],
    random: () => choices.forEach((choice, at) => { choice.value = String(Math.floor(Math.random() * parts[at].size)); }),
  };
}

/** A row: of each part what is chosen, by number, or none, and the flags that are on. */
export function rowOf({ parts, flags = [] }, chosen, on = []) {
  const oneHot = ({ name, size }) => Array.from({ length: size }, (_, at) => Number(at === chosen[name]));
  return [...parts.flatMap(oneHot), ...flags.map((flag) => Number(on.includes(flag)))];
}
