// What can be taken away: a figure as SVG or PNG, a trace as JSON.

const [WIDTH, MARGIN, TOP, FOOT] = [960, 16, 44, 34]; // of an SVG; a PNG is twice as fine

/**
 * Hand a picture to the browser as a file. kind: "PNG" or "SVG". A picture is
 * {title, height, ends: "0 to 1", foot, down, svg(left, top, width, height) and paint(context, left, top, width, height)}.
 */
export async function save(kind, picture) {
  const name = picture.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  if (kind === "SVG") download(new Blob([svg(picture)], { type: "image/svg+xml" }), `${name}.svg`);
  else download(await png(picture), `${name}.png`);
}

export function saveJson(name, value) {
  download(new Blob([JSON.stringify(value)], { type: "application/json" }), `${name}.json`);
}

export const escaped = (said) => said.replace(/[<>&"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** On the page's ground, with its title and the ends of its scale. */
function svg({ title, height, ends, foot, down, svg: inner }) {
  const { color, backgroundColor } = getComputedStyle(document.body);
  const text = (x, y, said, size, anchor = "start") => `<text x="${x}" y="${y}" font-family="system-ui, sans-serif" font-size="${size}" fill="${color}" text-anchor="${anchor}">${escaped(said)}</text>`;
  const [right, under] = [WIDTH - MARGIN, height + TOP + 22];
  const whole = `${WIDTH} ${height + TOP + FOOT}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height + TOP + FOOT}" viewBox="0 0 ${whole}"><rect width="100%" height="100%" fill="${backgroundColor}"/>${text(MARGIN, 28, title, 18)}${text(right, 28, ends, 14, "end")}${inner(MARGIN, TOP, WIDTH - 2 * MARGIN, height)}${text(MARGIN, under, foot, 14)}${text(right, under, down, 14, "end")}</svg>`;
}

function png({ title, height, ends, foot, down, paint }) {
  const made = Object.assign(document.createElement("canvas"), { width: 2 * WIDTH, height: 2 * (height + TOP + FOOT) });
  const context = made.getContext("2d");
  const { color, backgroundColor } = getComputedStyle(document.body);
  context.scale(2, 2);
  context.fillStyle = backgroundColor;
  context.fillRect(0, 0, WIDTH, height + TOP + FOOT);
  const text = (x, y, said, size, align = "left") => {
    Object.assign(context, { fillStyle: color, font: `${size}px system-ui, sans-serif`, textAlign: align });
    context.fillText(said, x, y);
  };
  const [right, under] = [WIDTH - MARGIN, height + TOP + 22];
  text(MARGIN, 28, title, 18);
  text(right, 28, ends, 14, "right");
  text(MARGIN, under, foot, 14);
  text(right, under, down, 14, "right");
  paint(context, MARGIN, TOP, WIDTH - 2 * MARGIN, height);
  return new Promise((resolve) => made.toBlob(resolve, "image/png"));
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
