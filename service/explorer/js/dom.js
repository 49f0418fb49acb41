// Elements without a framework: h("p", {class: "quiet"}, "text", child, ...).

/** An element. Properties that begin with "on" are listeners; null children are left out. */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = value;
    else if (name in made && typeof value === "boolean") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  fill(made, ...children);
  return made;
}

/** Put children in place of what an element has. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  return parent;
}

export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

/** A short sentence for everybody, also for who listens. */
export function say(text, ...actions) {
  const place = document.getElementById("say");
  fill(place, text, " ", ...actions);
  place.classList.toggle("shown", Boolean(text));
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 9000);
}

/** What went wrong, where a click led to it. */
export function guarded(work) {
  return async (...given) => {
    try {
      return await work(...given);
    } catch (error) {
      say(error.detail ?? error.message);
      return undefined;
    }
  };
}

export const number = (value, digits = 2) =>
  value === null || value === undefined ? "–" : Number(value).toFixed(digits).replace(/^-(0\.0*)$/, "$1");

export const bytes = (count) =>
  count < 1024 ? `${count} B` : count < 1 << 20 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / (1 << 20)).toFixed(1)} MiB`;

export const ago = (unixSeconds) => span(Math.max(0, Date.now() / 1000 - unixSeconds));

export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
