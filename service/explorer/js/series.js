// Which plots a model gets, by the roles of its tensors alone: no family is known here.

const ORDER = ["input", "output", "environment", "program", "counter", "add", "write_weights", "read_vectors", "read_weights",
  "usage", "precedence", "stack", "register", "erase", "key", "gate", "shift", "strength", "sharpness", "controller", "other"];
const SHARES = new Set(["read_weights", "write_weights", "usage", "gate", "shift", "precedence", "register", "erase"]);
const WHOLE = new Set(["stack", "environment", "memory"]); // matrices that are drawn as they lie, not a plot a row
const FOLDED = new Set(["environment", "program", "counter", "controller", "key", "erase", "shift", "strength", "sharpness", "precedence", "gate", "add", "read_vectors", "other"]);
const MOST_HEADS = 12;

export const TITLES = {
  write_weights: "Write weights", read_weights: "Read weights", read_vectors: "What was read", add: "What was added",
  erase: "What was erased", usage: "Usage", precedence: "Precedence", link: "Links", memory: "Memory", stack: "Stack",
  register: "Registers", program: "Program", environment: "Environment", counter: "Counter", controller: "Controller",
  key: "Keys", gate: "Gates", shift: "Shifts", strength: "Strengths", sharpness: "Sharpness", other: "Other",
};

/**
 * One plot over time for each vector that a row has: {title, role, rows, fixed, folded, name, of(row)}.
 * of: the vector out of a traced row's tensors. Numbers that stand alone are told by `scalars`.
 */
export function overTime(model, specs) {
  const bits = model.form?.kind === "bits" ? [0, 1] : undefined;
  const likely = ["sigmoid", "softmax"].includes(model.card?.activation) ? [0, 1] : undefined;
  const found = [
    { title: "Inputs", role: "input", name: "input", rows: model.input.dims[0], fixed: bits, of: null },
    { title: "Outputs", role: "output", name: "output", rows: model.output.dims[0], fixed: likely, of: null },
  ];
  for (const spec of specs) {
    for (const part of partsOf(spec)) {
      if (part.size > 1) found.push(plotOf(spec, part));
    }
  }
  return found.sort((one, other) => place(one.role) - place(other.role));
}

/** Numbers that stand alone, for lines over time: {title, role, name, at}. */
export function scalars(specs) {
  return specs.flatMap((spec) => partsOf(spec).filter((part) => part.size === 1).map((part) => ({
    title: titleOf(spec, part), role: spec.role, name: spec.name, at: part.begin,
  })));
}

/** Matrices that are drawn as they are at one row: (rows, columns) of the tensor as it lies. */
export function matrices(model, traces) {
  const large = traces.specs.large.filter((spec) => spec.dims.length >= 2).map((spec) => ({ ...spec, kind: "large" }));
  const small = traces.specs.small
    .filter((spec) => spec.from === "state" && spec.dims.length >= 2 && !isHeads(spec))
    .map((spec) => ({ ...spec, kind: "small" }));
  const order = ["memory", "stack", "register", "environment", "link"];
  const rank = (role) => (order.includes(role) ? order.indexOf(role) : order.length);
  return [...large, ...small].sort((one, other) => rank(one.role) - rank(other.role));
}

function plotOf(spec, part) {
  return {
    title: titleOf(spec, part), role: spec.role, name: spec.name, rows: part.size,
    fixed: SHARES.has(spec.role) ? [0, 1] : undefined, folded: FOLDED.has(spec.role),
    of: (tensors) => tensors[spec.name]?.subarray(part.begin, part.begin + part.size),
  };
}

const place = (role) => (ORDER.includes(role) ? ORDER.indexOf(role) : ORDER.length);

/** Is the first axis one of heads, each with a vector or a number? */
const isHeads = (spec) => spec.dims.length === 2 && spec.dims[0] <= MOST_HEADS && /weights|vectors|key|gate|shift|strength|sharpness|erase|add|register/.test(spec.role);

function partsOf(spec) {
  if (spec.dims.length === 0) return [{ begin: 0, size: 1, head: null }];
  if (spec.dims.length === 1) return [{ begin: 0, size: spec.dims[0], head: null }];
  if (spec.dims.length > 2 || spec.dims[0] > MOST_HEADS || WHOLE.has(spec.role)) return [];
  const [heads, size] = spec.dims;
  return Array.from({ length: heads }, (_, at) => ({ begin: at * size, size, head: heads > 1 ? at + 1 : null }));
}

function titleOf(spec, part) {
  const plain = TITLES[spec.role] ?? spec.role;
  const named = ["read_weights", "write_weights", "usage", "precedence"].includes(spec.role) ? plain : `${plain}: ${spec.name.replaceAll("_", " ")}`;
  return part.head === null ? named : `${named}, ${part.head}`;
}
