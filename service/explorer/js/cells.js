// Cells with something written in them: a scratch pad's digits and where its pointers are, a tape's and
// the registers' likeliest integers. Which tensors these are is told by the manifest's form.

import { fill, h } from "./dom.js";

const MOST = 24; // columns shown at a time
const SURE = 0.99; // below it an integer is drawn as a guess

/** A panel of cells, or null where the form has none. show(tensors) with those of a row, by name. */
export function cellsOf(model) {
  const { form = {}, state } = model;
  const dims = (name) => state.find((tensor) => tensor.name === name)?.dims;
  if (form.pad && dims(form.pad.tensor)) {
    const needs = [form.pad.tensor, form.pointers?.tensor].filter(Boolean);
    return panel("The pad", needs, (tensors) => padLines(form, tensors, dims(form.pad.tensor)));
  }
  if (form.kind !== "tape" || !dims(form.state)) return null;
  const registers = state.filter(({ role, dims: size }) => role === "register" && size.length === 2);
  const needs = [form.state, ...registers.map(({ name }) => name)];
  return panel("Tape and registers", needs, (tensors) => tapeLines(form, tensors, dims(form.state), registers));
}

/** needs: tensors without which there is nothing to show; lines(tensors): {head, rows: [{name, cells}]}. */
function panel(title, needs, lines) {
  const table = h("table", { class: "cells" });
  const element = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, table);
  const show = (tensors) => {
    if (!needs.every((name) => tensors[name])) { // still to come: what was there stays
      if (table.caption) table.caption.textContent = `${title}, of the row looked at before`;
      return;
    }
    const { head, rows } = lines(tensors);
    fill(table, h("caption", {}, title),
      h("thead", {}, h("tr", {}, h("td", {}), head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map(({ name, cells }) => h("tr", {}, h("th", { scope: "row" }, name), cells.map(cellOf)))));
  };
  return { element, show };
}

const cellOf = ({ text, mark, guess }) => h("td", { class: [mark ? "marked" : "", guess ? "guess" : ""].join(" ").trim() || null, title: mark ?? guess ?? null }, text,
  mark ? h("span", { class: "unseen" }, `, ${mark} is here`) : null);

/** The columns in use, with every pointer on its row: that of its own name, else the first. */
function padLines(form, tensors, [count, columns]) {
  const pad = tensors[form.pad.tensor];
  const names = form.pointers?.names ?? [];
  const places = Array.from(tensors[form.pointers?.tensor] ?? [], Math.round);
  const held = (row, column) => Math.round(pad[row * columns + column]);
  const used = Array.from({ length: columns }, (_, at) => at).filter((at) => places.includes(at) || form.pad.rows.some((_, row) => held(row, at) !== form.pad.blank));
  const [begin, end] = windowOf(used, columns);
  const which = Array.from({ length: end - begin }, (_, at) => begin + at);
  const marks = (row, column) => names.filter((name, at) => places[at] === column && Math.max(0, form.pad.rows.indexOf(name)) === row).join(", ") || null;
  const rows = Array.from({ length: count }, (_, row) => ({
    name: form.pad.rows[row],
    cells: which.map((column) => ({ text: held(row, column) === form.pad.blank ? "·" : String(held(row, column)), mark: marks(row, column) && `pointer ${marks(row, column)}` })),
  }));
  return { head: which.map(String), rows };
}

/** As many columns as fit, those about the middle of the pointed at and filled ones. */
function windowOf(used, columns) {
  const [first, last] = used.length ? [used[0], used.at(-1)] : [0, 0];
  if (last - first < MOST) return [Math.max(0, first - 1), Math.min(columns, last + 2)];
  return first > columns - 1 - last ? [columns - MOST, columns] : [0, MOST];
}

function tapeLines(form, tensors, [cells, integers], registers) {
  const tape = Array.from({ length: cells }, (_, at) => likeliest(tensors[form.state], at, integers));
  const last = Math.min(MOST, Math.max(3, tape.findLastIndex(({ text }) => text !== "0") + 2));
  const line = (spec) => Array.from({ length: spec.dims[0] }, (_, at) => ({ name: `r${at + 1}`, cells: [likeliest(tensors[spec.name], at, spec.dims[1])] }));
  return { head: Array.from({ length: last }, (_, at) => String(at)), rows: [{ name: "tape", cells: tape.slice(0, last) }, ...registers.flatMap(line)] };
}

function likeliest(values, at, size) {
  const part = values.subarray(at * size, (at + 1) * size);
  const best = part.indexOf(Math.max(...part));
  return { text: String(best), guess: part[best] < SURE ? `likely to ${Math.round(100 * part[best])}%` : null };
}
