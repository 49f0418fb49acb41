// A heat map: numbers in columns and rows as coloured cells on a canvas, one cell a number.

import { indexOf, rangeOf, table } from "./colour.js";

const EMPTY = [128, 128, 128, 40]; // cells that are not known yet

/**
 * The cells of a grid as an image, one pixel each.
 * grid: {columns, rows, data (rows x columns, NaN for unknown), fixed (a range, or none)}
 */
export function pixels(grid) {
  const range = rangeOf(grid.data, grid.fixed);
  const colours = table(range.name);
  const image = new ImageData(Math.max(grid.columns, 1), Math.max(grid.rows, 1));
  const bytes = image.data;
  for (let at = 0; at < grid.data.length; at++) {
    const value = grid.data[at];
    const place = 4 * at;
    if (Number.isNaN(value)) {
      bytes.set(EMPTY, place);
      continue;
    }
    const colour = 3 * indexOf(value, range);
    bytes[place] = colours[colour];
    bytes[place + 1] = colours[colour + 1];
    bytes[place + 2] = colours[colour + 2];
    bytes[place + 3] = 255;
  }
  return { image, range };
}

const scratch = typeof OffscreenCanvas === "undefined" ? document.createElement("canvas") : new OffscreenCanvas(1, 1);

/** Draw a grid over a canvas, crisp at the screen's own resolution. Returns its range. */
export function draw(canvas, grid) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const range = paintCells(context, grid, 0, 0, width, height);
  marked(context, grid, width, height, ratio);
  return range;
}

/** A grid's cells alone, in a box of a canvas. Returns its range. */
export function paintCells(context, grid, left, top, width, height) {
  const { image, range } = pixels(grid);
  Object.assign(scratch, { width: image.width, height: image.height });
  scratch.getContext("2d").putImageData(image, 0, 0);
  context.save();
  context.translate(left, top);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, 0, 0, width, height);
  faded(context, grid, width, height);
  context.restore();
  return range;
}

/** Columns that a session went back from are veiled. */
function faded(context, grid, width, height) {
  if (!grid.faded) return;
  const cell = width / grid.columns;
  context.fillStyle = "rgba(127,127,127,.55)";
  grid.faded.forEach((yes, at) => {
    const [left, right] = [Math.round(at * cell), Math.round((at + 1) * cell)];
    if (yes) context.fillRect(left, 0, right - left, height);
  });
}

/** The column that is looked at, framed in two tones so that it shows on any colour. */
function marked(context, grid, width, height, ratio) {
  if (grid.cursor === undefined || grid.cursor < 0 || grid.cursor >= grid.columns) return;
  const cell = width / grid.columns;
  const wide = Math.max(cell, 3 * ratio);
  const left = Math.max(2 * ratio, Math.min(grid.cursor * cell, width - wide - 2 * ratio));
  for (const [colour, line] of [["#000", 4 * ratio], ["#fff", 2 * ratio]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(left, ratio, wide, height - 2 * ratio);
  }
}

/** The same as an SVG drawing: neighbours of one colour in a row share a rectangle. */
export function svgCells(grid, left, top, width, height) {
  const { image } = pixels(grid);
  const [wide, high] = [width / image.width, height / image.height];
  const parts = [];
  for (let y = 0; y < image.height; y++) {
    let begin = 0;
    for (let x = 1; x <= image.width; x++) {
      if (x < image.width && colourAt(image, x, y) === colourAt(image, begin, y)) continue;
      const place = `x="${round(left + begin * wide)}" y="${round(top + y * high)}"`;
      parts.push(`<rect ${place} width="${round((x - begin) * wide + 0.2)}" height="${round(high + 0.2)}" fill="${colourAt(image, begin, y)}"/>`);
      begin = x;
    }
  }
  const veils = (grid.faded ?? []).map((yes, x) => (yes ? `<rect x="${round(left + x * wide)}" y="${round(top)}" width="${round(wide)}" height="${round(height)}" fill="#7f7f7f" fill-opacity=".55"/>` : ""));
  return `<g shape-rendering="crispEdges">${parts.join("")}${veils.join("")}</g>`;
}

const round = (value) => Math.round(value * 100) / 100;

function colourAt(image, x, y) {
  const at = 4 * (y * image.width + x);
  const [red, green, blue, alpha] = image.data.subarray(at, at + 4);
  return alpha < 255 ? "#cccccc" : `#${((1 << 24) | (red << 16) | (green << 8) | blue).toString(16).slice(1)}`;
}
