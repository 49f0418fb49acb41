// Lines over time as shapes of a picture that is saved: each line broken where a number is not known,
// and under them whose is which.

import { escaped } from "./export.js";

const [ACROSS, LINE, SAMPLE] = [4, 18, 24]; // names side by side, height of a line of them, their samples' length

/**
 * The shapes in a box: {lines: [{colour, dash, points: [[x, y], ...]}], names: [{said, x, y}]}.
 * series: [{title, colour, dash, values}], values null for unknown; range: [low, high].
 */
export function shapes(series, [low, high], width, height) {
  const under = LINE * (Math.ceil(series.length / ACROSS) + 0.5);
  const [lines, names] = [[], []];
  const y = (value) => (height - under) * (1 - (value - low) / (high - low || 1));
  series.forEach(({ title, colour, dash, values }, at) => {
    const x = (column) => (values.length > 1 ? (width * column) / (values.length - 1) : width / 2);
    for (const part of stretches(values)) lines.push({ colour, dash, points: part.map((column) => [x(column), y(values[column])]) });
    const place = [(at % ACROSS) * (width / ACROSS), height - under + LINE * (Math.floor(at / ACROSS) + 1)];
    lines.push({ colour, dash, points: [[place[0], place[1] - 4], [place[0] + SAMPLE, place[1] - 4]] });
    names.push({ said: title, x: place[0] + SAMPLE + 6, y: place[1] });
  });
  return { lines, names };
}

/** Places of numbers that follow from one another without a gap. */
function stretches(values) {
  const found = [];
  values.forEach((value, at) => {
    if (value === null) return;
    if (at && values[at - 1] !== null) found.at(-1).push(at);
    else found.push([at]);
  });
  return found;
}

/** As SVG. A line of one point shows by its round ends. */
export function svgOf({ lines, names }, left, top) {
  const ink = getComputedStyle(document.body).color;
  const drawn = lines.map(({ colour, dash, points }) => `<polyline points="${points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" ")}" stroke="${colour}" stroke-dasharray="${dash.join(" ") || "none"}"/>`);
  const said = names.map(({ said: name, x, y }) => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}">${escaped(name)}</text>`);
  return `<g transform="translate(${left} ${top})"><g fill="none" stroke-width="2" stroke-linecap="round">${drawn.join("")}</g><g fill="${ink}" font-family="system-ui, sans-serif" font-size="11">${said.join("")}</g></g>`;
}

/** The same on a canvas. */
export function paintOn(context, { lines, names }, left, top) {
  context.save();
  context.translate(left, top);
  Object.assign(context, { lineWidth: 2, lineCap: "round", textAlign: "left", font: "11px system-ui, sans-serif", fillStyle: getComputedStyle(document.body).color });
  for (const { colour, dash, points } of lines) {
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }
  for (const { said, x, y } of names) context.fillText(said, x, y);
  context.restore();
}
