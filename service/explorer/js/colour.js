// Colour scales that are told apart by those who see fewer colours, too: matplotlib's viridis and
// cividis for what is zero or more, blue to orange through the page's ground for what has a sign.

const STOPS = {
  viridis: "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725",
  cividis: "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
  grey: "000000 ffffff",
};
const SIGNED = { light: "0b3c8c 4a86d8 a9cbf2 f7f7f5 f8c78e e0812b 8f3d00", dark: "9cc8ff 4a86d8 1f4a85 17191d 7a4310 e0812b ffd29c" };
const STEPS = 256;
const tables = new Map();

export const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

/** The chosen scale of plots without a sign. */
export const chosen = () => (localStorage.getItem("ntm-scale") in STOPS ? localStorage.getItem("ntm-scale") : "viridis");
export const choose = (name) => localStorage.setItem("ntm-scale", name);

/** 256 colours, 3 bytes each. name: a scale, or "signed". */
export function table(name) {
  const stops = name === "signed" ? SIGNED[dark() ? "dark" : "light"] : STOPS[name];
  if (!tables.has(stops)) tables.set(stops, interpolated(stops.split(" ").map(parsed)));
  return tables.get(stops);
}

const parsed = (hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));

function interpolated(stops) {
  const colours = new Uint8Array(3 * STEPS);
  for (let at = 0; at < STEPS; at++) {
    const place = (at / (STEPS - 1)) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    for (let part = 0; part < 3; part++) {
      colours[3 * at + part] = Math.round(stops[low][part] + (place - low) * (stops[low + 1][part] - stops[low][part]));
    }
  }
  return colours;
}

/** How numbers become colours: {name, low, high}. Symmetric about zero where some are negative. */
export function rangeOf(values, fixed) {
  if (fixed) return { name: fixed[0] < 0 ? "signed" : chosen(), low: fixed[0], high: fixed[1] };
  let low = 0;
  let high = 0;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low < 0) {
    const most = Math.max(-low, high);
    return { name: "signed", low: -most, high: most };
  }
  return { name: chosen(), low: 0, high: high || 1 };
}

/** The place of a number in a scale's table. */
export const indexOf = (value, range) =>
  Math.max(0, Math.min(STEPS - 1, Math.round(((value - range.low) / (range.high - range.low || 1)) * (STEPS - 1))));
