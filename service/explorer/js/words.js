// What /explain tells, in words: where each head looked and why, what was written, how long it lasts.

import { get } from "./api.js";
import { fill, h, number } from "./dom.js";
import { keyOf, lasting } from "./traces.js";

const CHUNK = 64;
const BACK = 256; // rows that an age may reach back
const AHEAD = 64; // of them, after the chunk's own: what was written lasts into them
const KEPT = 40; // chunks, the latest used
const AGAIN_MS = 3000; // after which what failed is tried once more

const HIDDEN = new Set(["controller", "stack", "counter"]); // told by the calls, or telling nobody anything
const WAYS = {
  content: "by content", shift: "by shifting on from where it was", stays: "by staying where it was", backward: "back in the order of writing",
  forward: "on in the order of writing", allocation: "to a free slot", reread: "back to what was read in the row before", nothing: "and is told to write nothing", moved: "moving",
};

/** The explanations of a log's rows, fetched where somebody looks. */
export class Explanations {
  constructor(log, loaded) {
    this.log = log;
    this.loaded = loaded;
    this.forget();
  }

  /** The log has been read anew, and its rows may stand elsewhere. */
  forget() {
    this.chunks = new Map();
    this.read_anew = this.log.read_anew;
  }

  /** What is known of a row: {row, summary}, or undefined. */
  of(at) {
    const row = this.log.rows[at];
    const chunk = row && this.chunks.get(Math.floor(at / CHUNK));
    return chunk && { row: chunk.rows.get(keyOf(row)), heads: chunk.heads, over: chunk.over, failed: chunk.failed };
  }

  /** What fetches the explanation of a row, if it is missing: none or one function. back: rows that an age may reach back. */
  missing(at, back = BACK) {
    if (this.read_anew !== this.log.read_anew) this.forget();
    const { rows } = this.log;
    const number = Math.floor(at / CHUNK);
    let end = Math.min((number + 1) * CHUNK, rows.length);
    while (end > at + 1 && rows[end - 1].run !== rows[at].run) end -= 1;
    const known = this.chunks.get(number);
    if (known?.again > performance.now()) return [];
    const until = this.until(end, back);
    const older = known && until - known.until >= (until === end + AHEAD ? 1 : AHEAD / 4); // how long writes last is told of too few rows
    const whole = known && !known.again && known.end === end && known.run === rows[at].run && (known.failed || known.rows.has(keyOf(rows[at])));
    return whole && !older ? [] : [() => this.fetch(at, number, end, back)];
  }

  /** The row before which an explanation of rows before `end` ends: some after them, where what was written may still lie. */
  until(end, back) {
    const { rows } = this.log;
    let until = end;
    while (back === BACK && until < Math.min(end + AHEAD, rows.length) && rows[until].run === rows[end - 1].run) until += 1;
    return until;
  }

  async fetch(at, number, end, back) {
    const { rows } = this.log;
    const known = this.chunks.get(number);
    if (known?.busy || !rows[end - 1]) return; // read anew meanwhile, and there are fewer
    const chunk = { rows: known?.rows ?? new Map(), heads: known?.heads ?? [], over: known?.over, busy: true, end, until: this.until(end, back), run: rows[at].run };
    this.chunks.delete(number); // the latest used stand last
    this.chunks.set(number, chunk);
    const key = keyOf(rows[at]);
    try {
      let found = await this.ask(chunk, rows[chunk.until - 1], back, chunk.until - number * CHUNK);
      if (!chunk.rows.has(key)) found = await this.ask(chunk, rows[at], back, at + 1 - number * CHUNK); // of a large state fewer rows are told at once
      if (!chunk.rows.has(key)) throw new Error("Of this row the server tells nothing.");
      Object.assign(chunk, { heads: found.heads, over: { count: found.rows.length, from: found.rows[0].step, to: found.rows.at(-1).step } });
    } catch (error) {
      chunk.failed = error.detail ?? error.message;
      if (!lasting(error)) chunk.again = performance.now() + AGAIN_MS;
      setTimeout(this.loaded, AGAIN_MS);
    }
    chunk.busy = false;
    while (this.chunks.size > KEPT) this.chunks.delete(this.chunks.keys().next().value);
    this.loaded();
  }

  /** What is told of the rows up to one; the last `most` are kept. */
  async ask(chunk, { revision, step }, back, most) {
    const found = await get(`/v1/sessions/${this.log.session}/explain`, { revision, step, rows: back });
    for (const row of found.rows.slice(-most)) chunk.rows.set(keyOf(row), row);
    return found;
  }
}

/** A panel that says it. */
export class Words {
  constructor(model) {
    this.model = model;
    this.heads = h("ul", { class: "words" });
    this.whole = h("ul", { class: "words quiet" });
    this.span = h("h3", {});
    this.over = h("div", {}, this.span, this.whole);
    this.element = h("section", { class: "card", "aria-labelledby": "words-title" }, h("h2", { id: "words-title" }, "Why"), this.heads, this.over);
  }

  /** known: as `of` has it; unknown: what is said in its place; which: of which row it is, where one could be mistaken. */
  show(known, unknown, which = "") {
    if (!known?.row) {
      fill(this.heads, h("li", { class: "quiet" }, known?.failed ?? unknown));
      return;
    }
    const told = known.row.heads.map((head) => h("li", {}, sentence(head)));
    if (known.row.calls) told.push(h("li", {}, called(known.row.calls, this.model.form?.programs)));
    const moved = known.row.moved.filter(({ by, role }) => by > 1e-3 && !(known.row.calls && HIDDEN.has(role))).map(({ name, by }) => `${name.replaceAll("_", " ")} by ${number(by)}`);
    if (!known.row.heads.length) told.push(h("li", {}, moved.length ? `Moved: ${moved.join(", ")}.` : "Nothing moved."));
    fill(this.heads, which ? h("li", { class: "quiet" }, which) : null, told);
    this.over.hidden = !known.heads.length;
    if (!known.over) return;
    fill(this.span, `Over steps ${known.over.from} to ${known.over.to}`);
    fill(this.whole, known.heads.map((head) => h("li", {}, summary(head, known.over.count))));
  }
}

/** What was done to a stack of calls, by the names of its programs where they have some. */
export function called({ did, stack }, programs) {
  const path = stack.map(([program]) => programs?.[program] ?? `program ${program}`);
  const top = h("strong", {}, path.at(-1) ?? "");
  if (!path.length) return [did === "returned" ? "The first program returned: it has halted." : "It has halted."];
  const what = { called: "It called ", returned: "It returned to ", stayed: "It is in " }[did];
  return [what, top, `: ${path.join(" › ")} on its stack.`];
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
