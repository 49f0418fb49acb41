// What numbers stand for, where the manifest's form tells: programs by number, outputs and rows of a
// tensor by place. What it does not tell is called by its place alone.

/** The names of a vector's or a matrix's rows by place, or null. name: "output" or a tensor's. */
export function rowNames({ form = {} }, name) {
  if (name === "output" && form.output && form.programs) return outputNames(form);
  if (name === form.pad?.tensor) return form.pad.rows;
  if (name === form.pointers?.tensor) return form.pointers.names;
  return null;
}

/** What a tensor's numbers are called, as a function, or undefined. */
export function valueNames({ form = {}, state }, name) {
  const programs = form.programs && state.some((tensor) => tensor.name === name && tensor.role === "stack" && tensor.dims.length === 1);
  return programs ? (value) => form.programs[Math.round(value)] : undefined;
}

function outputNames({ output, programs, arguments: choices }) {
  const names = [];
  for (const [part, [begin, end]] of Object.entries(output)) {
    const each = { program: programs, ...choices }[part];
    for (let at = begin; at < end; at++) names[at] = each ? `${part} ${each[at - begin]}` : part;
  }
  return names;
}

/** What a row of the output decided, in words; "" where nothing ran. */
export function decided({ programs, arguments: choices, output }, row) {
  const part = ([begin, end]) => row.slice(begin, end);
  const [first, last] = [output.return[0], Math.max(...Object.keys(choices).map((name) => output[name][1]))];
  if (Math.max(...part([first, last])) < 1e-6) return "";
  if (row[output.return[0]] > 0.5) return "return";
  const best = (values) => values.indexOf(Math.max(...values));
  const given = Object.entries(choices).map(([name, words]) => [best(part(output[name])), words]);
  return [programs[best(part(output.program))], ...given.filter(([at]) => at).map(([at, words]) => words[at])].join(" ");
}
