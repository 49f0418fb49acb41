// What the network did in each row: its state after it and what its heads emitted, fetched a chunk
// at a time when somebody looks there. Small tensors and large ones (memory, links) apart, since a
// plot over time wants the small ones of many rows, and the large ones of the row looked at.

import { get } from "./api.js";
import { numbers } from "./msgpack.js";

const LARGE = 640; // numbers from which a tensor counts as large
const CHUNK = { small: 64, large: 16 };
const KEPT = { small: 200, large: 24 }; // chunks, the latest used
const AGAIN_MS = 3000; // after which what failed is tried once more

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
    this.failed = "";
    this.forget();
  }

  /** The log has been read anew, and its rows may stand elsewhere. */
  forget() {
    this.chunks = { small: new Map(), large: new Map() };
    this.read_anew = this.log.read_anew;
  }

  /** Tensors of a row by name, undefined until they have come: {before, after}. A trace tensor has no before. */
  row(at, kind) {
    const chunk = this.chunks[kind].get(Math.floor(at / CHUNK[kind]));
    return chunk?.rows.get(keyOf(this.log.rows[at]));
  }

  /** Has all come that there is of a row? */
  told(at) {
    return Object.keys(this.roles).every((kind) => !this.roles[kind] || this.row(at, kind));
  }

  /**
   * What fetches what is missing for the rows from lo to before hi: one function a chunk.
   * whole: the chunks' other rows too, for who may look there next.
   */
  missing(lo, hi, kind, whole = true) {
    if (this.read_anew !== this.log.read_anew) this.forget();
    const jobs = [];
    const size = CHUNK[kind];
    const [first, past] = [Math.max(lo, 0), Math.min(hi, this.log.rows.length)];
    for (let chunk = Math.floor(first / size); this.roles[kind] && chunk * size < past; chunk++) {
      const begin = whole ? chunk * size : Math.max(chunk * size, first);
      const end = Math.min((chunk + 1) * size, whole ? this.log.rows.length : past);
      const known = this.chunks[kind].get(chunk);
      if (known?.again > performance.now()) continue;
      if (!known || known.begin > begin || known.end < end) jobs.push(() => this.fetch(chunk, kind, begin, end));
    }
    return jobs;
  }

  /** Fetch a chunk's rows from begin to before end, but for those that have come already. */
  async fetch(number, kind, begin, end) {
    const map = this.chunks[kind];
    const known = map.get(number);
    if (known?.busy) return;
    const goesOn = known && known.begin <= begin && begin <= known.end;
    const chunk = { rows: known?.rows ?? new Map(), begin: goesOn ? known.begin : begin, end: goesOn ? known.end : begin, busy: true };
    map.delete(number); // the latest used stand last
    map.set(number, chunk);
    const failures = [];
    for (const piece of this.pieces(chunk.end, end).reverse()) { // of an older version's rows it may be that nobody can tell
      if (this.has(piece, chunk.rows)) continue;
      await this.read(piece, kind, chunk.rows).catch((error) => failures.push(error));
    }
    const [first] = failures;
    this.failed = first ? first.detail ?? first.message : "";
    if (failures.every(lasting)) chunk.end = Math.max(chunk.end, end);
    else chunk.again = performance.now() + AGAIN_MS;
    if (first) setTimeout(this.loaded, AGAIN_MS);
    chunk.busy = false;
    while (map.size > KEPT[kind]) map.delete(map.keys().next().value);
    this.loaded();
  }

  has({ begin, end }, rows) {
    return this.log.rows.slice(begin, end).every((row) => rows.has(keyOf(row)));
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
    for (let left = end - begin; left > 0;) { // of a large state the server tells fewer rows at once, the last ones
      const last = this.log.rows[begin + left - 1];
      const query = { revision: last.revision, step: last.step, rows: left, roles: this.roles[kind] };
      const answer = await get(`/v1/sessions/${this.log.session}/trace`, query);
      const rows = answer.revisions.map(() => ({ before: {}, after: {} }));
      for (const tensor of [...answer.state, ...answer.trace]) split(tensor, rows);
      rows.forEach((row, at) => into.set(keyOf({ revision: answer.revisions[at], step: answer.step + at }), row));
      left -= Math.max(rows.length, 1);
    }
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

/** Was it said that it cannot be told, rather than not now? */
export const lasting = ({ status }) => status >= 400 && status < 500 && status !== 408 && status !== 429;

export const keyOf = (row) => (row ? `${row.revision}:${row.step}` : "");

export const sizeOf = (tensor) => tensor.dims.reduce((product, size) => product * size, 1);
