// What the network did in each row: its state after it and what its heads emitted, fetched a chunk
// at a time when somebody looks there. Small tensors and large ones (memory, links) apart, since a
// plot over time wants the small ones of many rows, and the large ones of the row looked at.

import { get } from "./api.js";
import { nextLook } from "./lane.js";
import { numbers } from "./msgpack.js";

const LARGE = 640; // numbers from which a tensor counts as large
const CHUNK = { small: 64, large: 16 };
const GROWING_MS = 300; // between two looks at a chunk that grows
const KEPT = { small: 200, large: 24 }; // chunks, the latest used

export class Traces {
  /** loaded() is called when a chunk has come. */
  constructor(log, model, loaded) {
    this.log = log;
    this.loaded = loaded;
    this.specs = { small: [], large: [] };
    const roles = { small: new Set(), large: new Set() };
    const all = [...model.state.map((t) => [t, "state"]), ...model.trace.map((t) => [t, "trace"])];
    const large = new Set(all.filter(([t]) => sizeOf(t) > LARGE).map(([t]) => t.role));
    for (const [tensor, from] of all) {
      const kind = large.has(tensor.role) ? "large" : "small"; // a role is asked for as a whole
      this.specs[kind].push({ ...tensor, from });
      roles[kind].add(tensor.role);
    }
    this.roles = { small: [...roles.small].join(","), large: [...roles.large].join(",") };
    this.chunks = { small: new Map(), large: new Map() };
    this.failed = "";
  }

  /** Tensors of a row by name, undefined until they have come: {before, after}. A trace tensor has no before. */
  row(at, kind) {
    const chunk = this.chunks[kind].get(Math.floor(at / CHUNK[kind]));
    return chunk?.rows.get(keyOf(this.log.rows[at]));
  }

  /** What fetches what is missing for the rows from lo to before hi: one function a chunk. */
  missing(lo, hi, kind) {
    const jobs = [];
    const last = Math.min(hi, this.log.rows.length) - 1;
    for (let chunk = Math.floor(Math.max(lo, 0) / CHUNK[kind]); this.roles[kind] && chunk * CHUNK[kind] <= last; chunk++) {
      const known = this.chunks[kind].get(chunk);
      if (known?.end !== this.endOf(chunk, kind)) jobs.push(() => this.fetch(chunk, kind));
    }
    return jobs;
  }

  endOf(chunk, kind) {
    return Math.min((chunk + 1) * CHUNK[kind], this.log.rows.length);
  }

  async fetch(number, kind) {
    const begin = number * CHUNK[kind];
    const end = this.endOf(number, kind);
    const map = this.chunks[kind];
    const known = map.get(number);
    if (known?.busy || known?.end === end) return;
    if (known && performance.now() < known.next) { // somebody steps fast: a few looks a second do
      clearTimeout(this.later);
      this.later = setTimeout(this.loaded, GROWING_MS);
      return;
    }
    const chunk = { rows: known?.rows ?? new Map(), end: known?.end ?? begin, busy: true };
    const begun = performance.now();
    map.delete(number); // the latest used stand last
    map.set(number, chunk);
    try {
      for (const piece of this.pieces(Math.max(begin, chunk.end), end)) await this.read(piece, kind, chunk.rows);
      this.failed = "";
    } catch (error) {
      this.failed = error.detail ?? error.message;
    }
    chunk.end = end;
    chunk.busy = false;
    chunk.next = nextLook(begun, GROWING_MS);
    while (map.size > KEPT[kind]) map.delete(map.keys().next().value);
    this.loaded();
  }

  /** Stretches of rows that follow from one another: one request each. */
  pieces(begin, end) {
    const found = [];
    for (let at = begin; at < end; at++) {
      const last = found.at(-1);
      if (last && this.log.rows[at].run === this.log.rows[last.end - 1].run) last.end = at + 1;
      else found.push({ begin: at, end: at + 1 });
    }
    return found;
  }

  async read({ begin, end }, kind, into) {
    const last = this.log.rows[end - 1];
    const query = { revision: last.revision, step: last.step, rows: end - begin, roles: this.roles[kind] };
    const answer = await get(`/v1/sessions/${this.log.session}/trace`, query);
    const rows = answer.revisions.map(() => ({ before: {}, after: {} }));
    for (const tensor of [...answer.state, ...answer.trace]) split(tensor, rows);
    rows.forEach((row, at) => into.set(keyOf({ revision: answer.revisions[at], step: answer.step + at }), row));
  }
}

/** A tensor over rows as one view a row. A state tensor has one row more: the state before them. */
function split(tensor, rows) {
  const flat = numbers(tensor);
  const more = tensor.dims[0] - rows.length;
  const size = flat.length / tensor.dims[0];
  rows.forEach((row, at) => {
    row.after[tensor.name] = flat.subarray((at + more) * size, (at + more + 1) * size);
    if (more) row.before[tensor.name] = flat.subarray(at * size, (at + 1) * size);
  });
}

const keyOf = (row) => (row ? `${row.revision}:${row.step}` : "");

export const sizeOf = (tensor) => tensor.dims.reduce((product, size) => product * size, 1);
