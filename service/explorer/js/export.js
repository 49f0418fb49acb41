// What can be taken away: a figure as SVG or PNG, a trace as JSON.

import { draw } from "./heatmap.js";

/** Hand a figure to the browser as a file. kind: "PNG" or "SVG". */
export async function save(kind, figure) {
  const name = figure.about.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  if (kind === "SVG") download(new Blob([figure.svg()], { type: "image/svg+xml" }), `${name}.svg`);
  else download(await png(figure), `${name}.png`);
}

export function saveJson(name, value) {
  download(new Blob([JSON.stringify(value)], { type: "application/json" }), `${name}.json`);
}

/** The figure with its title on a canvas of its own, twice as fine as it is shown. */
function png({ about, grid, canvas, range }) {
  const [width, height, top] = [1920, Math.max(320, Math.min(1280, grid.rows * 16)), 80];
  const made = Object.assign(document.createElement("canvas"), { width, height: height + top + 24 });
  const context = made.getContext("2d");
  const style = getComputedStyle(document.body);
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, made.width, made.height);
  context.fillStyle = style.color;
  context.font = "34px system-ui, sans-serif";
  context.fillText(about.title, 24, 52);
  context.font = "26px system-ui, sans-serif";
  context.textAlign = "right";
  context.fillText(`${range.low.toFixed(2)} to ${range.high.toFixed(2)}`, width - 24, 52);
  const inner = Object.assign(document.createElement("canvas"), { width: width - 48, height });
  Object.defineProperty(inner, "clientWidth", { value: inner.width / (devicePixelRatio || 1) });
  Object.defineProperty(inner, "clientHeight", { value: inner.height / (devicePixelRatio || 1) });
  draw(inner, { ...grid, cursor: undefined });
  context.drawImage(inner, 24, top);
  return new Promise((resolve) => made.toBlob(resolve, "image/png"));
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
