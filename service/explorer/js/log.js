// Everything that was done to a session, in the order in which it was done: its rows one by one, and
// between them what moved it otherwise. It is read from /history once and then kept up by events.

import { get } from "./api.js";
import { watch } from "./events.js";
import { numbers } from "./msgpack.js";

const PAGE = 1000;

export class Log {
  /** changed() is called whenever rows or marks have come, ended(how) when the session is no more. */
  constructor(session, changed, ended) {
    this.session = session;
    this.changed = changed;
    this.ended = ended;
    this.rows = []; // {step, revision, run, lastOf, input, output, left}
    this.marks = []; // {kind, step, revision, before}: before which row it stands
    this.step = 0;
    this.revision = 0;
    this.run = 0; // rises with every mark: rows of one run follow from one another
    this.alive = false;
  }

  /** Read what is kept, and follow what comes until the signal says no more. */
  async open(signal) {
    await this.reload(signal);
    watch(this.session, "rows", (name, data) => this.tell(name, data), (alive) => {
      this.alive = alive;
      this.changed();
    }, signal);
  }

  async reload(signal) {
    const pages = [];
    let cursor;
    do {
      const page = await get(`/v1/sessions/${this.session}/history`, { limit: PAGE, cursor }, signal);
      pages.push(page.history);
      cursor = page.cursor;
    } while (cursor);
    this.rows = [];
    this.marks = [];
    this.run = 0;
    for (const entry of pages.flat().reverse()) this.take(entry);
    this.changed();
  }

  tell(name, data) {
    if (["expired", "deleted", "ended", "replaced", "failed"].includes(name)) this.ended(name);
    else if (name === "missed") this.reload();
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
      this.rows.push({ step, revision: entry.revision, run: this.run, lastOf, input, output: outputs[at], left: false });
    });
  }

  /** Rows past the point that a session went back to are left behind. */
  mark({ kind, step, revision }) {
    this.run += 1;
    this.marks.push({ kind, step, revision, before: this.rows.length });
    if (kind !== "reset" && kind !== "restore") return;
    for (const row of this.rows) row.left ||= row.step > step;
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
