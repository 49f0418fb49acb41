// The server's own HTTP interface, as any client has it. The key, where the server wants one, is
// asked for once and kept until the tab is closed.

import { decode } from "./msgpack.js";
import { h, button } from "./dom.js";

export const base = location.pathname.replace(/\/explorer\/?$/, "");
const KEY = "ntm-key";
let asking = null;

/** What the server said no with. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.title ?? `status ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.detail = problem.detail ?? this.message;
  }
}

/** A decoded answer. query: undefined parameters are left out. */
export async function get(path, query = {}, signal = undefined) {
  return read(await send("GET", path + asQuery(query), { accept: "application/msgpack", signal }));
}

/** What a mutation answered, once: it carries an idempotency key. match: an ETag to hold to. */
export async function post(path, body = {}, match = undefined) {
  const headers = { "content-type": "application/json", "idempotency-key": drawn() };
  if (match) headers["if-match"] = match;
  return read(await send("POST", path, { headers, body: JSON.stringify(body) }));
}

export const remove = (path) => send("DELETE", path, {});

/** One request. Raises Refused; a 401 asks for the key and tries again. */
export async function send(method, path, { headers = {}, body, accept, signal }) {
  const key = sessionStorage.getItem(KEY);
  const told = { ...headers };
  if (accept) told.accept = accept;
  if (key) told.authorization = `Bearer ${key}`;
  const answer = await fetch(base + path, { method, headers: told, body, signal, cache: "no-store" });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) {
    await askForKey(key);
    return send(method, path, { headers, body, accept, signal });
  }
  throw new Refused(answer.status, problem);
}

async function read(answer) {
  const kind = answer.headers.get("content-type") ?? "";
  return kind.includes("msgpack") ? decode(await answer.arrayBuffer()) : answer.json();
}

function asQuery(query) {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return said.length ? `?${new URLSearchParams(said)}` : "";
}

/** 128 random bits. crypto.randomUUID is for https and localhost alone. */
function drawn() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** A dialog for the key, one for all requests that wait for it. failed: the key that did not do. */
function askForKey(failed) {
  if (sessionStorage.getItem(KEY) !== failed) return Promise.resolve();
  asking ??= new Promise((resolve, reject) => {
    const field = h("input", { type: "password", id: "key", autocomplete: "off", required: true, oninput: () => field.setCustomValidity("") });
    const form = h("form", { method: "dialog", onsubmit: (event) => {
      const given = field.value.trim();
      if (/^[\x21-\x7e]+$/.test(given)) {
        sessionStorage.setItem(KEY, given);
        resolve();
        return;
      }
      event.preventDefault(); // no header could carry it
      field.setCustomValidity("A key has no blanks, and no characters outside of ASCII.");
      field.reportValidity();
    } },
    h("h2", { id: "key-title" }, "This server wants a key"),
    h("p", {}, failed ? "The last one is unknown, revoked or expired. " : "", "It is kept in this tab alone, and sent to this server alone."),
    h("label", { for: "key" }, "Key"), field, button("Go on", null, { type: "submit", class: "main" }));
    const dialog = h("dialog", { "aria-labelledby": "key-title" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      asking = null;
      reject(new Error("Without a key this server tells nothing.")); // after a key was given it changes nothing
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}
