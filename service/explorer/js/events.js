// Server-sent events over fetch, since a browser's own EventSource cannot send a key.

import { send } from "./api.js";

const AGAIN_MS = 1000;
const LAST = new Set(["expired", "deleted", "ended", "replaced"]);

/**
 * Watch a session until the signal says no more. tell(name, data) for each event, alive(true or
 * false) as the connection comes and goes. What happened in between is told when it is back.
 * last: the id of the last event that is known; without one they begin at the present.
 */
export async function watch(session, include, tell, alive, signal, last = "") {
  while (!signal.aborted) {
    try {
      const headers = last ? { "last-event-id": last } : {};
      const answer = await send("GET", `/v1/sessions/${session}/events?include=${include}`, {
        headers, accept: "text/event-stream", signal,
      });
      alive(true);
      for await (const event of eventsOf(answer.body)) {
        if (event.id) last = event.id;
        if (event.name) tell(event.name, JSON.parse(event.data));
        if (LAST.has(event.name)) {
          alive(false);
          return;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404 || error.status === 410) { // it ended while nobody listened
        alive(false);
        tell("ended", {});
        return;
      }
    }
    alive(false);
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield parsed(part);
  }
}

function parsed(part) {
  const event = { id: "", name: "", data: "" };
  for (const line of part.split("\n")) {
    if (line.startsWith("id: ")) event.id = line.slice(4);
    if (line.startsWith("event: ")) event.name = line.slice(7);
    if (line.startsWith("data: ")) event.data += line.slice(6);
  }
  return event;
}
