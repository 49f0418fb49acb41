// One session: what it did, row by row, and what can be done with it.

import { get, post, remove } from "./api.js";
import { Compare } from "./compare.js";
import { ago, button, bytes, fill, guarded, h, say } from "./dom.js";
import { saveJson } from "./export.js";
import { Form } from "./forms.js";
import { Log } from "./log.js";
import { Looks } from "./looks.js";
import { Machine } from "./machine.js";
import { numbers } from "./msgpack.js";
import { OverTime } from "./over_time.js";
import { Player } from "./player.js";
import { Present } from "./present.js";
import { Traces } from "./traces.js";
import { Explanations, Words } from "./words.js";

export class SessionView {
  /** options: {play: from the first row on, compare: another session's id, at: a step}. */
  constructor(root, id, options, signal) {
    Object.assign(this, { root, id, options, signal, waiting: false });
  }

  async open() {
    this.info = await get(`/v1/sessions/${this.id}`, {}, this.signal);
    this.model = await get(`/v1/models/${this.info.model}`, { version: this.info.version }, this.signal);
    this.log = new Log(this.id, () => this.soon(), (how) => this.over(how));
    this.traces = new Traces(this.log, this.model, () => this.soon());
    this.reasons = new Explanations(this.log, () => this.soon());
    this.looks = new Looks(this);
    this.player = new Player(() => this.soon());
    this.over_time = new OverTime(this.model, this.traces, (at) => this.look(at), () => this.soon());
    this.machine = new Machine(this.model, this.traces, (at) => this.look(at));
    this.present = new Present(this.model, this.traces);
    this.words = new Words(this.model);
    this.form = new Form(this.model, (rows) => this.step(rows));
    this.compare = new Compare(this, (id) => this.comparing(id));
    this.build();
    await this.log.open(this.signal);
    this.begin();
    this.listen();
  }

  build() {
    this.facts = [h("span", {}), h("span", {})];
    const origin = this.info.forked_from ? [" · fork of ", h("a", { href: `#session=${this.info.forked_from}` }, this.info.forked_from)] : [];
    this.marks = h("ol", { class: "marks" });
    const act = (text, work, more = {}) => button(text, guarded(work), more);
    this.rewinder = act("Rewind to here", () => this.rewind(), { id: "rewind", disabled: true });
    this.forker = act("Fork here", () => this.fork(), { id: "fork", disabled: true });
    fill(this.root,
      h("div", { class: "bar" }, h("div", {}, h("h1", {}, this.id), h("p", { class: "facts" }, this.facts[0], origin, this.facts[1])),
        h("div", { class: "buttons" }, this.rewinder, this.forker,
          act("Trace as JSON", () => this.take(), { id: "take-trace", title: "Of the rows that the plots show" }), act("Reset", () => this.move("reset", {}, "Reset to the initial state")),
          act("Delete", () => this.end(), { class: "danger" }))),
      this.player.element,
      h("div", { class: "columns" },
        h("div", { class: "wide" }, this.machine.element, this.over_time.element, this.present.element, this.compare.element),
        h("div", { class: "side" }, this.form.element, this.words.element,
          h("section", { class: "card others", "aria-labelledby": "marks-title" }, h("h2", { id: "marks-title" }, "What moved it otherwise"), this.marks))));
  }

  begin() {
    this.player.grow(this.log.rows.length, this.log.now());
    if (this.options.at) this.player.go(this.log.at(Number(this.options.at)));
    if (this.options.play && this.log.rows.length) {
      this.player.go(0);
      this.player.start();
    }
    if (this.options.compare) guarded(() => this.compare.with(this.options.compare))();
    this.soon();
  }

  listen() {
    const { signal } = this;
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    addEventListener("resize", () => this.soon(), { signal });
    document.addEventListener("ntm-scale", () => this.soon(), { signal });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.soon(), { signal });
    signal.addEventListener("abort", () => {
      this.player.stop();
      this.over_time.lines?.plot?.destroy(); // uPlot remembers every plot until then
    });
  }

  /** Space plays, arrows move, but not where one types or presses something. */
  key(event) {
    if (event.target.closest("input, select, textarea, button, summary, canvas, a, dialog, [role=grid], .scroll") || event.ctrlKey || event.metaKey || event.altKey) return;
    const does = { " ": () => this.player.toggle(), ArrowLeft: () => this.player.go(this.player.at - 1), ArrowRight: () => this.player.go(this.player.at + 1) }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  /** Draw with the next frame, however much has changed until then. */
  soon() {
    if (this.waiting || this.signal.aborted || !this.player) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (!this.signal.aborted) this.draw();
    });
  }

  draw() {
    const { log, player, traces } = this;
    player.grow(log.rows.length, log.now());
    const row = log.rows[player.at];
    player.show(row, log.alive);
    this.tell();
    if (row) {
      this.looks.look();
      this.over_time.show(log, player.at);
      this.machine.show(log, player.at, this.over_time.span(player.at, log.rows.length));
      const at = this.looks.shown();
      this.present.show(log.rows[at], traces.row(at, "small"), traces.row(at, "large"));
      this.words.show(this.reasons.of(at), traces.failed || "Loading…", at < player.at ? `Of step ${log.rows[at].step}, the newest that was looked at.` : "");
    } else this.untouched();
    const lost = Boolean(row) && !row.lastOf && log.at(row.step) !== player.at; // a step is the newest that was there
    this.rewinder.disabled = Boolean(this.gone) || !row || lost || player.at === log.head;
    this.forker.disabled = Boolean(this.gone) || lost || (!row && log.rows.length > 0);
    for (const act of [this.rewinder, this.forker]) act.title = lost ? "Another row has been this step since, and this one is within a request: only the end of that request can be gone back to." : "";
    this.compare.draw();
  }

  /** Before the first row there is only the state that the session began with. */
  async untouched() {
    this.words.show(undefined, "Nothing has been stepped yet. Send a row, and see what the network does with it.");
    if (!this.start) {
      this.start = get(`/v1/sessions/${this.id}/memory`, {}, this.signal);
      const { state } = await this.start.catch(() => ({ state: null }));
      const after = state && Object.fromEntries(state.map((tensor) => [tensor.name, numbers(tensor)]));
      this.fresh = after && { after, before: after };
    }
    if (!this.fresh || this.log.rows.length) return;
    this.machine.cells?.show(this.fresh.after);
    this.present.show(undefined, this.fresh, this.fresh);
  }

  tell() {
    const { info, log } = this;
    this.facts[0].textContent = `${info.model} ${info.version} (${this.model.family}) · step ${log.step} · revision ${log.revision} · ${bytes(info.state_bytes)} · begun ${ago(info.created_at)} ago`;
    this.facts[1].textContent = this.gone ? ` · ${this.gone}` : log.alive ? " · live" : " · not connected";
    const told = { create: "begun", reset: "reset", restore: "back", import: "state brought in", migrate: "another version" };
    fill(this.marks, log.marks.slice(-12).reverse().map(({ kind, step, revision }) => h("li", {}, `${told[kind] ?? kind}${kind === "restore" ? ` to step ${step}` : ""}, revision ${revision}`)));
  }

  look(at) {
    this.player.stop();
    this.player.go(at);
  }

  async step(rows) {
    await post(`/v1/sessions/${this.id}/steps`, { inputs: rows });
    this.looks.wished();
    this.player.last(true);
  }

  /** A point by which the server knows the row that is looked at. */
  point() {
    const row = this.log.rows[this.player.at];
    if (!row) return {};
    return row.lastOf ? { revision: row.revision } : { step: row.step };
  }

  async rewind() {
    const row = this.log.rows[this.player.at];
    const before = this.log.revision;
    await this.move("restore", this.point(), `Rewound to step ${row.step}`,
      button("Undo", guarded(() => this.move("restore", { revision: before }, "Undone")), { class: "small" }));
  }

  async move(how, body, told, ...actions) {
    this.log.asked = body.revision ?? null;
    await post(`/v1/sessions/${this.id}/${how}`, body, `"${this.info.incarnation}-${this.log.revision}"`);
    this.player.follow = true;
    this.soon(); // the event may have come before the answer
    say(told, ...actions);
  }

  async fork() {
    const made = await post(`/v1/sessions/${this.id}/fork`, this.point());
    const open = h("a", { href: `#session=${made.id}&compare=${this.id}` }, "Open it beside this one");
    say(`Forked at step ${made.step}.`, open);
    if (!this.signal.aborted) await this.compare.with(made.id);
  }

  /** Everything that is known of the rows in view, as the server tells it. */
  async take() {
    const [lo, hi] = this.over_time.span(this.player.at, this.log.rows.length);
    const last = this.log.rows[hi - 1];
    if (!last) return;
    const query = `revision=${last.revision}&step=${last.step}&rows=${hi - lo}`;
    const { send } = await import("./api.js");
    const answer = await send("GET", `/v1/sessions/${this.id}/trace?${query}`, { accept: "application/json" });
    const told = await answer.json();
    saveJson(`${this.id}-trace`, told);
    const [count, from] = [told.revisions.length, told.step];
    if (count < hi - lo) say(`Saved ${count} of ${hi - lo} rows, from step ${from} on: a trace goes back to where the session was last moved otherwise.`);
  }

  async end() {
    if (!confirm(`Delete session ${this.id}? Its state and history go with it.`)) return;
    await remove(`/v1/sessions/${this.id}`);
    if (!this.signal.aborted) location.hash = "";
  }

  over(how) {
    this.gone = how;
    say(`The session has ended: ${how}.`);
    this.soon();
  }

  comparing(id) {
    if (this.signal.aborted) return;
    const place = `#session=${this.id}${id ? `&compare=${id}` : ""}`;
    history.replaceState(null, "", place);
  }
}
