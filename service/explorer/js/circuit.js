// The circuit that a step ran, as a program: which value each module was given, and what the registers
// became of it. Read off the softmaxes of its choices, whose tensors and modules the form names.

import { fill, h } from "./dom.js";

const SURE = 0.99;

/** A panel of the circuits in view, each once, or null where the form tells of none. */
export function circuitOf(model) {
  const about = model.form?.circuit;
  if (!about) return null;
  const list = h("ol", { class: "circuits", tabindex: "0", "aria-label": "The circuit of each step" });
  let told = "";
  const show = (rows, first, cursor, tensors) => {
    const blocks = blocksOf(about, rows, tensors, model.form.halted);
    const key = JSON.stringify([blocks, cursor]);
    if (key === told) return;
    told = key;
    fill(list, blocks.map(({ lines, steps, at }) => h("li", { "aria-current": at.includes(cursor) ? "step" : null },
      h("p", {}, h("strong", {}, `Step ${steps.join(", ")}`)), h("pre", {}, lines.join("\n")))));
    if (!blocks.length) fill(list, h("li", { class: "quiet" }, "It has not run yet."));
  };
  return { element: h("div", {}, h("h3", {}, "The circuit"), list), show };
}

/** Each circuit that ran, with the steps in which it did. */
function blocksOf(about, rows, tensors, halted) {
  const found = new Map();
  const ended = (row) => Boolean(row && halted && row.output[halted.output] >= halted.from);
  rows.forEach((row, at) => {
    const seen = tensors[at]?.after;
    if (!seen?.[about.sources] || (ended(row) && ended(rows[at - 1]))) return;
    const lines = [...program(about, seen), ended(row) ? "halt" : "next step"];
    const known = found.get(lines.join("\n")) ?? { lines, steps: [], at: [] };
    known.steps.push(row.step);
    known.at.push(at);
    found.set(lines.join("\n"), known);
  });
  return [...found.values()];
}

/** The calls that something comes of, in order, then what each register becomes. */
function program({ modules, constants, arguments: chosen, sources }, seen) {
  const outputs = modules.length;
  const choices = modules.reduce((sum, [, count]) => sum + count, 0);
  const width = seen[chosen].length / choices;
  const registers = width - outputs;
  const pick = (tensor, at) => best(tensor.subarray(at * width, (at + 1) * width));
  let place = 0;
  const given = modules.map(([, count]) => Array.from({ length: count }, () => pick(seen[chosen], place++)));
  const becomes = Array.from({ length: registers }, (_, at) => pick(seen[sources], at));
  const name = (at) => (at < registers ? `r${at + 1}` : String(constants[modules[at - registers][0]] ?? (modules[at - registers][0] === "WRITE" ? 0 : modules[at - registers][0].toLowerCase())));
  const said = ({ at, share }) => `${name(at)}${share < SURE ? ` (${Math.round(100 * share)}%)` : ""}`;
  const used = needed(given, becomes, registers, outputs);
  const calls = modules.flatMap(([module, count], at) => (count && used.has(registers + at) ? [`${module === "WRITE" ? "" : `${name(registers + at)} = `}${module}(${given[at].map(said).join(", ")})`] : []));
  const changes = becomes.flatMap((source, at) => (source.at === at ? [] : [`r${at + 1} ← ${said(source)}`]));
  return changes.length ? [...calls, changes.join(", ")] : calls;
}

/** The last module writes; besides it whatever a register takes, and what those were given. */
function needed(given, becomes, registers, outputs) {
  const used = new Set([registers + outputs - 1, ...becomes.map(({ at }) => at)]);
  for (let at = outputs - 1; at >= 0; at--) {
    if (used.has(registers + at)) for (const value of given[at]) used.add(value.at);
  }
  return used;
}

function best(values) {
  const at = values.indexOf(Math.max(...values));
  return { at, share: values[at] };
}
