// The state at the row that is looked at: matrices as they lie, memory with its heads under it.

import { fill, h } from "./dom.js";
import { Figure } from "./figure.js";
import { rowNames } from "./names.js";
import { TITLES, matrices } from "./series.js";

const FEW = 8; // rows that need no height
const SLOTS_TO_TURN = 24; // a memory with more slots than its width is drawn with slots across

/** The matrices of one model's state. */
export class Present {
  constructor(model, traces) {
    this.traces = traces;
    this.specs = matrices(model, traces).map((spec) => ({ ...spec, rowNames: rowNames(model, spec.name) }));
    this.strips = model.state.filter(({ role }) => role === "write_weights" || role === "read_weights");
    this.change = h("select", { id: "shown", onchange: () => this.again() },
      h("option", { value: "after" }, "as it is after the row"), h("option", { value: "change" }, "what the row changed"));
    this.figures = new Map(this.specs.map((spec) => [spec.name, this.figureOf(spec)]));
    this.heads = new Map(this.memory ? this.strips.map((spec) => [spec.name, this.headOf(spec)]) : []);
    this.element = h("section", { class: "card present", "aria-labelledby": "present-title" },
      h("div", { class: "bar" }, h("h2", { id: "present-title" }, "Memory now"), h("label", { class: "inline" }, "Show ", this.change)),
      this.inOrder());
    if (!this.specs.length) this.element.hidden = true;
  }

  get memory() {
    return this.specs.find(({ role }) => role === "memory");
  }

  inOrder() {
    return this.specs.flatMap((spec) => {
      const own = this.figures.get(spec.name).element;
      return spec.role === "memory" ? [own, ...[...this.heads.values()].map(({ element }) => element)] : [own];
    });
  }

  figureOf(spec) {
    const title = spec.role === spec.name ? TITLES[spec.role] : `${TITLES[spec.role] ?? spec.role}: ${spec.name.replaceAll("_", " ")}`;
    return new Figure({ title, size: spec.dims[0] > SLOTS_TO_TURN && spec.role !== "memory" ? "square" : spec.dims[0] <= FEW ? "s" : "l", across: spec.role === "memory" ? "slots" : "" });
  }

  headOf(spec) {
    return new Figure({ title: `${TITLES[spec.role]} over the slots`, size: spec.dims[0] > 1 ? "s" : "xs", across: "slots" });
  }

  /** small, large: a row's tensors, as `Traces.row` has them, undefined while they come. */
  show(row, small, large) {
    this.last = [row, small, large];
    const change = this.change.value === "change";
    for (const spec of this.specs) {
      const tensors = spec.kind === "large" ? large : small;
      this.figures.get(spec.name).show(gridOf(spec, tensors, change, row));
    }
    for (const spec of this.heads.size ? this.strips : []) {
      this.heads.get(spec.name).show(stripOf(spec, small?.after[spec.name]));
    }
  }

  again() {
    if (this.last) this.show(...this.last);
  }
}

/** A matrix as a grid: a memory with its slots across, everything else as it lies. */
export function gridOf(spec, tensors, change, row) {
  const [rows, columns] = [spec.dims[0], spec.dims.slice(1).reduce((one, other) => one * other, 1)];
  const after = tensors?.after[spec.name];
  const before = tensors?.before[spec.name];
  const values = after && change && before ? after.map((value, at) => value - before[at]) : after;
  const turned = spec.role === "memory" && rows > SLOTS_TO_TURN;
  const data = values ? (turned ? transposed(values, rows, columns) : values) : new Float32Array(rows * columns).fill(NaN);
  const slot = (at) => spec.rowNames?.[at] ?? `${spec.role === "memory" || spec.role === "link" ? "slot" : "row"} ${at}`;
  const place = (at) => `${spec.role === "link" ? "after slot" : "column"} ${at}`;
  const at = row ? `After step ${row.step}.` : "";
  const loading = () => !values;
  return turned
    ? { columns: rows, rows: columns, data, column: slot, row: place, said: at, loading }
    : { columns, rows, data, column: place, row: slot, said: at, loading };
}

function stripOf(spec, found) {
  const [heads, slots] = spec.dims.length === 2 ? spec.dims : [1, spec.dims[0]];
  const data = found ?? new Float32Array(heads * slots).fill(NaN);
  const at = data.indexOf(Math.max(...data));
  return { columns: slots, rows: heads, data, loading: () => !found, fixed: [0, 1], column: (slot) => `slot ${slot}`, row: (head) => `head ${head + 1}`, said: `The largest is on slot ${at % slots}.` };
}

function transposed(values, rows, columns) {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) turned[column * rows + row] = values[row * columns + column];
  }
  return turned;
}
