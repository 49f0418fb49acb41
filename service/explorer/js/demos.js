// Demos on models of the zoo, told apart by their task. Each is data: what it shows, and what a
// session begins with. A demo whose model is not loaded says so.

import { tapeOf } from "./form_tape.js";
import { typedRows } from "./form_typed.js";

export const DEMOS = [
  {
    id: "copy", title: "Copy a drawn pattern", tasks: ["copy"], page: () => import("./demo_copy.js"),
    text: "Draw a pattern. The network writes it to its memory column by column, and reads it back in order when the delimiter comes.",
  },
  {
    id: "glyphs", title: "Teach three glyphs", tasks: ["few-shot-pairs"], page: () => import("./demo_glyphs.js"),
    unfit: ({ form }) => (form.kind === "glyph" && form.labels >= SIGNS ? null : "The loaded model tells fewer than three signs apart."),
    text: "Show a MANN three signs it has never seen, once each with a name, and ask it for the names. No training step: what it learns is in its memory.",
  },
  {
    id: "metro", title: "Ask the metro for a route", tasks: ["graph-paths"], page: () => import("./demo_metro.js"),
    unfit: ({ form }) => (form.kind === "graph" && METRO.every(([name, least]) => form.parts.some((part) => part.name === name && part.size >= least)) ? null : "The loaded model knows too few names for this map."),
    text: "Tell a DNC the map of a metro, link by link, and ask where a route leads: it answers from its memory, station by station.",
  },
  {
    id: "carry", title: "Watch a digit being carried", tasks: ["addition", "recursive-addition"], begin: (model) => addition(model, "96", "125"),
    text: "Let an NPI add 96 and 125 as one does on paper, and watch its stack of programs where it carries.",
  },
  {
    id: "circuit", title: "Follow a pointer", tasks: ["access"], begin: (model) => tape(model, [3, 7, 1, 4, 9, 2]),
    text: "Watch a Neural RAM wire its modules to its registers, step by step, and put the fourth number of a list into the tape's first cell.",
  },
];

const SIGNS = 3;
const METRO = [["source", 10], ["label", 4], ["target", 10]]; // stations, and what can be taken
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

/** A tape with these numbers in its first cells, and rows that make steps. */
const tape = (model, values) => ({ state: tapeOf(model, values), rows: Array.from({ length: STEPS }, () => model.form.row) });
