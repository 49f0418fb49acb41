// Everything that was done to a session, in the order in which it was done: its rows one by one, and
// between them what moved it otherwise. It is read from /history once and then kept up by events.

import { get } from "./api.js";
import { say } from "./dom.js";
import { watch } from "./events.js";
import { numbers } from "./msgpack.js";

const PAGE = 1000;

export class Log {
  /** changed() is called whenever rows or marks have come, ended(how) when the session is no more. */
  constructor(session, changed, ended) {
    this.session = session;
    this.changed = changed;
    this.ended = ended;
    this.rows = []; // {step, revision, run, lastOf, input, output, before, left}
    this.marks = []; // {kind, step, revision, before}: before which row it stands
    this.step = 0;
    this.revision = 0;
    this.head = -1; // the place of the row that it stands at; each knows which came before it
    this.asked = null; // the revision that somebody asks to go back to
    this.run = 0; // rises with every mark: rows of one run follow from one another
    this.alive = false;
    this.read_anew = 0; // how often all of it has been: rows may stand elsewhere then
    this.held = null; // events that come while it is read
  }

  /** Read what is kept, and follow what comes until the signal says no more. */
  async open(signal) {
    this.signal = signal;
    const { incarnation } = await get(`/v1/sessions/${this.session}`, {}, signal);
    await this.reload();
    const last = this.revision ? `${incarnation}-${this.revision}` : ""; // or a step until it is connected would be lost
    watch(this.session, "rows", (name, data) => this.tell(name, data), (alive) => {
      this.alive = alive;
      this.changed();
    }, signal, last);
  }

  async reload() {
    this.held = [];
    try {
      const entries = await this.kept();
      Object.assign(this, { rows: [], marks: [], run: 0, head: -1, read_anew: this.read_anew + 1 });
      for (const entry of entries) this.take(entry);
    } finally {
      const held = this.held;
      this.held = null;
      for (const [name, data] of held) this.tell(name, data);
    }
    this.changed();
  }

  /** The entries of the history, oldest first. */
  async kept() {
    const pages = [];
    let cursor;
    do {
      const page = await get(`/v1/sessions/${this.session}/history`, { limit: PAGE, cursor }, this.signal);
      pages.push(page.history);
      cursor = page.cursor;
    } while (cursor);
    return pages.flat().reverse();
  }

  tell(name, data) {
    if (["expired", "deleted", "ended", "replaced"].includes(name)) this.ended(name);
    else if (this.held) this.held.push([name, data]);
    else if (name === "missed") this.reload().catch((error) => this.signal.aborted || say(error.detail ?? error.message));
    else if (data.revision > this.revision) {
      const kinds = { stepped: "step", created: "create", restored: "restore", imported: "import", migrated: "migrate" };
      if (data.step === undefined) return; // a fork, a snapshot, an eviction: nothing moved
      this.take({ kind: kinds[name] ?? name, ...data });
      this.changed();
    }
  }

  /** One entry of the history or one event. */
  take(entry) {
    this.step = entry.step;
    this.revision = entry.revision;
    if (!entry.inputs) {
      this.mark(entry);
      return;
    }
    const inputs = asRows(entry.inputs);
    const outputs = asRows(entry.outputs);
    inputs.forEach((input, at) => {
      const step = entry.step - inputs.length + at + 1;
      const lastOf = at === inputs.length - 1;
      this.rows.push({ step, revision: entry.revision, run: this.run, lastOf, input, output: outputs[at], before: this.head, left: false });
      this.head = this.rows.length - 1;
    });
  }

  /** Rows that do not lead to where a session went back to are left behind. */
  mark({ kind, step, revision }) {
    this.run += 1;
    this.marks.push({ kind, step, revision, before: this.rows.length });
    if (kind !== "reset" && kind !== "restore") return;
    this.head = kind === "reset" ? -1 : this.stands(step);
    this.asked = null;
    for (const row of this.rows) row.left = true;
    for (let at = this.head; at >= 0; at = this.rows[at].before) this.rows[at].left = false;
  }

  /** Where it stands once it has gone back to a step: at the row that was asked for, else the one that led to the present, else the newest. */
  stands(step) {
    const asked = this.rows.findLastIndex((row) => row.revision === this.asked && row.step === step);
    if (asked >= 0) return asked;
    let at = this.head;
    while (at >= 0 && this.rows[at].step > step) at = this.rows[at].before;
    return this.rows[at]?.step === step ? at : this.at(step);
  }

  /** The row that it stands at, by its place; the newest where it has been reset. */
  now() {
    return this.head >= 0 ? this.head : this.rows.length - 1;
  }

  /** The newest row that was consumed as this step, by its place; -1 where there is none. */
  at(step) {
    return this.rows.findLastIndex((row) => row.step === step);
  }
}

/** Rows as lists, whether they came as lists or raw. */
function asRows(found) {
  if (Array.isArray(found)) return found;
  const [count, width] = found.dims;
  const flat = numbers(found);
  return Array.from({ length: count }, (_, at) => flat.subarray(at * width, (at + 1) * width));
}
