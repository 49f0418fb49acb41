// The calls of a machine that runs programs, set in by depth, as a list that follows the row looked at.

import { button, fill, h } from "./dom.js";
import { decided } from "./names.js";

/** A panel of calls, or null where the form names no programs. pick(at) when a line is clicked. */
export function callsOf(model, pick) {
  const { form = {}, state } = model;
  const counter = state.find(({ role }) => role === "counter")?.name;
  if (!form.programs || !form.output) return null;
  const list = h("ol", { class: "calls", tabindex: "0", "aria-label": "What it called" });
  let told = "";
  const show = (rows, first, cursor, tensors) => {
    const lines = linesOf(form, rows, (at) => tensors[at]?.before[counter]?.[0]);
    const key = JSON.stringify([first, lines]);
    if (key !== told) {
      told = key;
      fill(list, lines.map(({ at, said, depth }) => h("li", { "data-depth": Math.min(depth, 12) }, button(said, () => pick(first + at), { class: "line" }))));
    }
    const now = lines.findLastIndex(({ at }) => at <= cursor);
    [...list.children].forEach((item, at) => (at === now ? item.setAttribute("aria-current", "step") : item.removeAttribute("aria-current")));
    if (now >= 0) keepInView(list, list.children[now]);
  };
  return { element: h("div", {}, h("h3", {}, "What it calls"), list), show };
}

/** Rows that decided or typed something: {at, said, depth}. */
function linesOf(form, rows, depthBefore) {
  return rows.map(({ input, output }, at) => ({ at, said: decided(form, [...output]) || typed(form, [...input]), depth: depthBefore(at) ?? 0 })).filter(({ said }) => said);
}

const typed = ({ input }, row) => (input && row[input.typed] > 0.5 ? `typed ${row.slice(...input.values).map((value) => (value < 0 ? "·" : value)).join(" ")}` : "");

/** Scrolls the list alone, never the page. */
function keepInView(list, item) {
  const [top, bottom] = [item.offsetTop, item.offsetTop + item.offsetHeight]; // within the list, which is positioned
  if (top < list.scrollTop || bottom > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
}
