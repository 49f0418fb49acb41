// Demos on models of the zoo, told apart by their task. Each is data: what it shows, and what is
// sent. A demo whose model is not loaded says so.

export const DEMOS = [
  {
    id: "copy", title: "Copy a drawn pattern", task: "copy", draw: true,
    text: "Draw a pattern. The network writes it to its memory column by column, and reads it back in order when the delimiter comes.",
  },
  {
    id: "glyphs", title: "Teach three glyphs", task: "few-shot", also: ["omniglot", "few_shot", "few-shot"],
    text: "Show a MANN three signs it has never seen, once each with a name, and ask it for the names.",
  },
  {
    id: "metro", title: "Ask the metro for a route", task: "graph-paths", also: ["graph", "metro", "traversal", "shortest-path"],
    text: "Give a DNC the map of a metro, link by link, and ask how to get from here to there.",
  },
  {
    id: "carry", title: "Watch a digit being carried", task: "addition", also: ["add", "npi-addition"],
    text: "Let an NPI add two numbers as one does on paper, and watch its stack of programs where it carries.",
  },
  {
    id: "circuit", title: "Read a learned circuit", task: "nram", also: ["tape", "reverse", "increment", "access", "swap"],
    text: "See which gates a Neural RAM wires to which registers, step by step.",
  },
];

/** The loaded model that a demo runs on: the one of its name, else one of its task; or undefined. */
export function modelOf(demo, models) {
  const tasks = [demo.task, ...(demo.also ?? [])];
  return models.find(({ name }) => name === demo.id) ?? models.find(({ task }) => tasks.includes(task));
}
