// The demo of a graph in memory: a metro's links are told a session, a row each, and it is asked where
// routes lead, a row for each ride. What is right is read off the map; what it says comes from its memory.

import { post } from "./api.js";
import { button, fill, guarded, h } from "./dom.js";
import { rowOf } from "./form_graph.js";
import { LINES, LINKS, STATIONS, TAKEN, leads } from "./metro.js";

const MOST = 4; // rides of a route: the network was trained on no more

export async function show(main, demo, model, detail) {
  const asking = new Asking(model, detail.form);
  fill(main, h("h1", {}, demo.title), h("p", {}, demo.text), asking.element);
  await asking.begin();
}

class Asking {
  constructor(model, form) {
    Object.assign(this, { model, form, route: [] });
    this.map = drawn();
    this.from = h("select", { id: "from", onchange: () => this.clear() }, STATIONS.map(({ name }, at) => h("option", { value: at }, name)));
    this.rides = TAKEN.map((name, label) => button(name, () => this.take(label), { "data-label": label }));
    this.said = h("p", { id: "route" });
    this.answer = h("ol", { id: "answer" });
    this.verdict = h("p", { role: "status", id: "verdict" });
    this.look = h("p", {});
    this.ask = button("Ask it", guarded(() => this.send()), { class: "main", id: "ask", disabled: true });
    this.element = h("section", { class: "card", "aria-labelledby": "ask-title" }, h("h2", { id: "ask-title" }, "Where does the route lead?"), h("div", { class: "pair" }, this.map,
      h("div", {}, h("p", {}, h("label", {}, "From ", this.from)), h("div", { class: "buttons", role: "group", "aria-label": "Take" }, this.rides), this.said,
        h("div", { class: "buttons" }, this.ask, button("Begin anew", () => this.clear()), button("A route at random", () => this.random(), { id: "random" })), this.answer, this.verdict, this.look)));
    this.clear();
  }

  /** A session that has been told every link, by chance in another order than they stand in. */
  async begin() {
    this.session = (await post(`/v1/models/${this.model.name}/sessions`, { version: this.model.version })).id;
    const links = shuffled(LINKS).map(({ from, label, to }) => rowOf(this.form, { source: from, label, target: to }));
    await post(`/v1/sessions/${this.session}/steps`, { inputs: links });
    fill(this.look, `It has been told ${links.length} links, a row each. `, h("a", { href: `#session=${this.session}` }, "See what is in its memory"));
  }

  /** The stations on the way, by the map, the start first. */
  get way() {
    return this.route.reduce((stations, label) => [...stations, leads(stations.at(-1), label)], [Number(this.from.value)]);
  }

  clear() {
    this.route = [];
    fill(this.answer);
    fill(this.verdict);
    this.draw();
  }

  take(label) {
    if (this.answer.children.length) this.clear();
    this.route.push(label);
    this.draw();
  }

  random() {
    this.from.value = String(Math.floor(Math.random() * STATIONS.length));
    this.clear();
    for (let ride = 0; ride < MOST - 1; ride++) {
      const possible = TAKEN.map((_, label) => label).filter((label) => leads(this.way.at(-1), label) !== undefined);
      this.take(possible[Math.floor(Math.random() * possible.length)]);
    }
  }

  draw(reached = []) {
    const here = this.way.at(-1);
    this.rides.forEach((ride, label) => { ride.disabled = this.route.length >= MOST || leads(here, label) === undefined; });
    this.ask.disabled = !this.route.length;
    fill(this.said, this.route.length ? `From ${STATIONS[this.way[0]].name} take ${this.route.map((label) => TAKEN[label]).join(", then ")}.` : "Choose what to take, a ride from station to station each.");
    for (const dot of this.map.querySelectorAll("[data-station]")) {
      const at = Number(dot.dataset.station);
      dot.classList.toggle("start", at === this.way[0]);
      dot.classList.toggle("reached", reached.includes(at));
    }
  }

  async send() {
    const { route, way } = this;
    const rows = route.map((label, at) => rowOf(this.form, { label, ...(at === 0 && { source: way[0] }) }, ["query"]));
    const { outputs } = await post(`/v1/sessions/${this.session}/steps`, { inputs: rows });
    const reached = outputs.map((row) => row.indexOf(Math.max(...row)));
    const name = (at) => STATIONS[at]?.name ?? `a name that no station has (${at})`;
    fill(this.answer, reached.map((at, ride) => h("li", {}, `${TAKEN[route[ride]]} to `, h("strong", {}, name(at)), at === way[ride + 1] ? ": right" : `: the map says ${name(way[ride + 1])}`)));
    const right = reached.filter((at, ride) => at === way[ride + 1]).length;
    fill(this.verdict, `${right} of ${reached.length} ${reached.length === 1 ? "station" : "stations"} right.`);
    this.draw(reached);
  }
}

function shuffled(list) {
  return list.map((one) => [Math.random(), one]).sort(([one], [other]) => one - other).map(([, one]) => one);
}

const PLACES = {
  above: (x, y) => ({ x, y: y - 3.6, "text-anchor": "middle" }),
  below: (x, y) => ({ x, y: y + 6.4, "text-anchor": "middle" }),
  beside: (x, y) => ({ x: x + 3.4, y: y - 1.8 }),
};

/** The map as a drawing: lines apart by colour and by dashes, stations by name. */
function drawn() {
  const svg = (tag, properties, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const said = LINES.map(({ name, stops }) => `${name}: ${stops.map((at) => STATIONS[at].name).join(", ")}.`).join(" ");
  const lines = LINES.map(({ stops }, at) => svg("polyline", { class: `line line-${at}`, points: stops.map((stop) => `${STATIONS[stop].x},${STATIONS[stop].y}`).join(" ") }));
  const stations = STATIONS.map(({ name, x, y, put }, at) => svg("g", { class: "station", "data-station": at }, svg("circle", { cx: x, cy: y, r: 2 }), svg("text", PLACES[put](x, y), name)));
  return svg("svg", { class: "metro", viewBox: "0 0 100 70", role: "img", "aria-label": `The map. ${said}` }, ...lines, ...stations);
}
