// Demos on models of the zoo, told apart by their task. Each is data: what it shows, and what a
// session begins with. A demo whose model is not loaded says so.

import { typedRows } from "./form_typed.js";

export const DEMOS = [
  {
    id: "copy", title: "Copy a drawn pattern", tasks: ["copy"], draw: true,
    text: "Draw a pattern. The network writes it to its memory column by column, and reads it back in order when the delimiter comes.",
  },
  {
    id: "glyphs", title: "Teach three glyphs", tasks: ["few-shot"],
    text: "Show a MANN three signs it has never seen, once each with a name, and ask it for the names.",
  },
  {
    id: "metro", title: "Ask the metro for a route", tasks: ["graph-paths"],
    text: "Give a DNC the map of a metro, link by link, and ask how to get from here to there.",
  },
  {
    id: "carry", title: "Watch a digit being carried", tasks: ["addition", "recursive-addition"], begin: (model) => addition(model, "96", "125"),
    text: "Let an NPI add 96 and 125 as one does on paper, and watch its stack of programs where it carries.",
  },
  {
    id: "circuit", title: "Follow a pointer", tasks: ["access", "increment", "reverse", "swap", "tape-copy"], begin: (model) => tape(model, [3, 7, 1, 4, 9, 2]),
    text: "Watch a Neural RAM wire its modules to its registers, step by step, and put the fourth number of a list into the tape's first cell.",
  },
];

const TICKS = 60; // an addition of three digits takes fewer
const STEPS = 8;

/** The loaded model that a demo runs on: the one named like its task, else one of its tasks; or undefined. */
export function modelOf({ tasks }, models) {
  return models.find(({ name }) => name === tasks[0]) ?? models.find(({ task }) => tasks.includes(task));
}

/** Two numbers typed onto the pad, and rows in which the program runs. */
function addition(model, ...numbers) {
  const idle = () => new Array(model.input.dims[0]).fill(0);
  return { rows: [...typedRows(model, numbers), ...Array.from({ length: TICKS }, idle)] };
}

/** A tape with these numbers in its first cells, each of them certain, and rows that make steps. */
function tape(model, values) {
  const { form, state } = model;
  const [cells, integers] = state.find(({ name }) => name === form.state).dims;
  const certain = (value) => Array.from({ length: integers }, (_, at) => Number(at === value));
  const held = Array.from({ length: cells }, (_, at) => certain(values[at] ?? 0));
  return { state: { [form.state]: held }, rows: Array.from({ length: STEPS }, () => form.row) };
}
