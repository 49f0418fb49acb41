// A small metro as a graph: stations, and two lines that run both ways. What one can take from a station
// is a line in a direction: to the network a label. Places are those of a drawing 100 wide and 70 high;
// a name stands above its station, below it or beside it.

export const STATIONS = [
  { name: "Harbour", x: 9, y: 50, put: "above" }, { name: "Fish Market", x: 25, y: 50, put: "below" }, { name: "Old Town", x: 40, y: 50, put: "above" },
  { name: "Central", x: 56, y: 36, put: "beside" }, { name: "Opera", x: 74, y: 36, put: "below" }, { name: "Airport", x: 90, y: 36, put: "above" },
  { name: "Zoo", x: 40, y: 6, put: "beside" }, { name: "University", x: 56, y: 20, put: "beside" }, { name: "Museum", x: 56, y: 54, put: "beside" },
  { name: "Gardens", x: 70, y: 64, put: "beside" },
];

/** From end to end; `there` and `back` are what its directions are called. */
export const LINES = [
  { name: "Blue", stops: [0, 1, 2, 3, 4, 5], there: "Blue east", back: "Blue west" },
  { name: "Orange", stops: [6, 7, 3, 8, 9], there: "Orange south", back: "Orange north" },
];

/** What can be taken, in the order of the network's labels. */
export const TAKEN = LINES.flatMap(({ there, back }) => [there, back]);

/** Every link, both ways: {from, label, to}. */
export const LINKS = LINES.flatMap(({ stops }, line) => stops.slice(1).flatMap((to, at) => [
  { from: stops[at], label: 2 * line, to }, { from: to, label: 2 * line + 1, to: stops[at] },
]));

/** Where a link leads, or undefined. */
export const leads = (from, label) => LINKS.find((link) => link.from === from && link.label === label)?.to;
