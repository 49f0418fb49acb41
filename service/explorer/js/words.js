// What /explain tells, in words: where each head looked and why, what was written, how long it lasts.

import { get } from "./api.js";
import { fill, h, number } from "./dom.js";
import { nextLook } from "./lane.js";

const CHUNK = 64;
const BACK = 256; // rows that an age may reach back
const GROWING_MS = 600;

const WAYS = {
  content: "by content", shift: "by shifting on from where it was", stays: "by staying where it was", backward: "back in the order of writing",
  forward: "on in the order of writing", allocation: "to a free slot", nothing: "and is told to write nothing", moved: "moving",
};

/** The explanations of a log's rows, fetched where somebody looks. */
export class Explanations {
  constructor(log, loaded) {
    this.log = log;
    this.loaded = loaded;
    this.chunks = new Map();
  }

  /** What is known of a row: {row, summary}, or undefined. */
  of(at) {
    const row = this.log.rows[at];
    const chunk = row && this.chunks.get(Math.floor(at / CHUNK));
    return chunk && { row: chunk.rows.get(`${row.revision}:${row.step}`), heads: chunk.heads, count: chunk.count, failed: chunk.failed };
  }

  /** What fetches the explanation of a row, if it is missing: none or one function. */
  missing(at) {
    const { rows } = this.log;
    const number = Math.floor(at / CHUNK);
    let end = Math.min((number + 1) * CHUNK, rows.length);
    while (end > at + 1 && rows[end - 1].run !== rows[at].run) end -= 1;
    const known = this.chunks.get(number);
    if (known && known.end === end && known.run === rows[at].run) return [];
    return [() => this.fetch(at, number, end)];
  }

  async fetch(at, number, end) {
    const { rows } = this.log;
    const known = this.chunks.get(number);
    if (known?.busy) return;
    if (performance.now() < (known?.next ?? 0)) {
      clearTimeout(this.later);
      this.later = setTimeout(this.loaded, GROWING_MS);
      return;
    }
    const chunk = { rows: known?.rows ?? new Map(), heads: known?.heads ?? [], count: 0, busy: true, end, run: rows[at].run };
    this.chunks.set(number, chunk);
    const begun = performance.now();
    const { revision, step } = rows[end - 1];
    try {
      const found = await get(`/v1/sessions/${this.log.session}/explain`, { revision, step, rows: BACK });
      for (const row of found.rows) chunk.rows.set(`${row.revision}:${row.step}`, row);
      Object.assign(chunk, { heads: found.heads, count: found.rows.length, slots: found.slots });
    } catch (error) {
      chunk.failed = error.detail ?? error.message;
    }
    Object.assign(chunk, { busy: false, next: nextLook(begun, GROWING_MS) });
    this.loaded();
  }
}

/** A panel that says it. */
export class Words {
  constructor() {
    this.heads = h("ul", { class: "words" });
    this.whole = h("ul", { class: "words quiet" });
    this.element = h("section", { class: "card", "aria-labelledby": "words-title" },
      h("h2", { id: "words-title" }, "Why"), this.heads, h("h3", {}, "Over these rows"), this.whole);
  }

  show(known, unknown) {
    if (!known?.row) {
      fill(this.heads, h("li", { class: "quiet" }, known?.failed ?? unknown));
      return;
    }
    const told = known.row.heads.map((head) => h("li", {}, sentence(head)));
    const moved = known.row.moved.filter(({ by }) => by > 1e-3).map(({ name, by }) => `${name.replaceAll("_", " ")} by ${number(by)}`);
    if (!told.length) told.push(h("li", {}, moved.length ? `Moved: ${moved.join(", ")}.` : "Nothing moved."));
    fill(this.heads, told);
    fill(this.whole, known.heads.map((head) => h("li", {}, summary(head, known.count))));
  }
}

/** One head in one row. */
export function sentence(head) {
  const name = h("strong", {}, `The ${head.kind} head${head.head === head.kind ? "" : ` ${head.head.split(" ")[1]}`}`);
  const gate = head.gate === null ? "" : ` (gate ${number(head.gate)})`;
  const shift = head.shift && head.way === "shift" ? ` by ${head.shift > 0 ? "+" : "−"}${Math.abs(head.shift)}` : "";
  const focus = head.weight > 0.5 ? `is on slot ${head.slot}, weight ${number(head.weight)}` : `is spread over ${number(head.spread, 1)} slots, most on slot ${head.slot} (${number(head.weight)})`;
  const parts = [name, ` ${focus}; it came ${WAYS[head.way] ?? head.way}${shift}${gate}.`];
  if (head.nearest.length) parts.push(` Slots nearest to its key: ${head.nearest.map(({ slot, cosine }) => `${slot} (${number(cosine)})`).join(", ")}${head.strength === null ? "" : `, strength ${number(head.strength, 1)}`}.`);
  if (head.kind === "write") parts.push(written(head));
  if (head.kind === "read") parts.push(head.age === null ? "" : ` What it reads was written ${rows(head.age)} ago.`);
  return parts;
}

function written(head) {
  if (head.change === null) return "";
  const how = head.erase === null ? "" : `It erases ${Math.round(100 * head.erase)}% and adds a vector of length ${number(head.add)}; `;
  const lasts = head.weight <= 0.5 ? "." : head.lasts === null ? ", and is still there at the last row looked at." : `, and lasts ${rows(head.lasts)}.`;
  return ` ${how}${how ? "the" : "The"} slot moves by ${number(head.change)}${lasts}`;
}

const rows = (count) => (count === 1 ? "1 row" : `${count} rows`);
const percent = (share) => `${Math.round(100 * share)}%`;

function summary(head, count) {
  const ways = Object.entries(head.ways).sort((one, other) => other[1] - one[1]).map(([way, share]) => `${way} ${percent(share)}`).join(", ");
  const moves = `back by one slot ${percent(head.moves.back)}, still ${percent(head.moves.stays)}, on by one ${percent(head.moves.on)}`;
  const age = head.age === null ? "" : ` What it read was ${number(head.age, 1)} rows old on average.`;
  const lasts = head.lasts === null ? "" : ` What it wrote and lost had lasted ${number(head.lasts, 1)} rows.`;
  return [h("strong", {}, head.head), ` in ${rows(count)}: on ${head.focused} ${head.focused === 1 ? "slot" : "slots"}, ${number(head.effective, 1)} in effect; ${ways}; ${moves}.${age}${lasts}`];
}
