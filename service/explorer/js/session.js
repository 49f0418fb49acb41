// One session: what it did, row by row, and what can be done with it.

import { get, post, remove } from "./api.js";
import { Compare } from "./compare.js";
import { ago, button, bytes, fill, guarded, h, say } from "./dom.js";
import { saveJson } from "./export.js";
import { Form } from "./forms.js";
import { Lane } from "./lane.js";
import { Log } from "./log.js";
import { OverTime } from "./over_time.js";
import { Player } from "./player.js";
import { Present } from "./present.js";
import { Traces } from "./traces.js";
import { Explanations, Words } from "./words.js";

const REST_MS = 60;

export class SessionView {
  /** options: {play: from the first row on, compare: another session's id, at: a step}. */
  constructor(root, id, options, signal) {
    Object.assign(this, { root, id, options, signal, waiting: false });
  }

  async open() {
    this.info = await get(`/v1/sessions/${this.id}`);
    this.model = await get(`/v1/models/${this.info.model}`, { version: this.info.version });
    this.log = new Log(this.id, () => this.soon(), (how) => this.over(how));
    this.traces = new Traces(this.log, this.model, () => this.soon());
    this.reasons = new Explanations(this.log, () => this.soon());
    this.lane = new Lane();
    this.player = new Player(() => this.soon());
    this.over_time = new OverTime(this.model, this.traces, (at) => this.look(at), () => this.soon());
    this.present = new Present(this.model, this.traces);
    this.words = new Words();
    this.form = new Form(this.model, (rows) => this.step(rows));
    this.compare = new Compare(this, (id) => this.comparing(id));
    this.build();
    await this.log.open(this.signal);
    this.begin();
    this.listen();
  }

  build() {
    this.facts = h("p", { class: "facts" });
    this.marks = h("ol", { class: "marks" });
    const act = (text, work, more = {}) => button(text, guarded(work), more);
    this.rewinder = act("Rewind to here", () => this.rewind(), { id: "rewind" });
    this.forker = act("Fork here", () => this.fork(), { id: "fork" });
    fill(this.root,
      h("div", { class: "bar" }, h("div", {}, h("h1", {}, this.id), this.facts),
        h("div", { class: "buttons" }, this.rewinder, this.forker,
          act("Trace as JSON", () => this.take(), { id: "take-trace" }), act("Reset", () => this.move("reset", {}, "Reset to the initial state")),
          act("Delete", () => this.end(), { class: "danger" }))),
      this.player.element,
      h("div", { class: "columns" },
        h("div", { class: "wide" }, this.over_time.element, this.present.element, this.compare.element),
        h("div", { class: "side" }, this.form.element, this.words.element,
          h("section", { class: "card others", "aria-labelledby": "marks-title" }, h("h2", { id: "marks-title" }, "What moved it otherwise"), this.marks))));
  }

  begin() {
    this.player.grow(this.log.rows.length);
    if (this.options.at) this.player.go(this.log.at(Number(this.options.at)));
    if (this.options.play && this.log.rows.length) {
      this.player.go(0);
      this.player.start();
    }
    if (this.options.compare) this.compare.with(this.options.compare);
    this.soon();
  }

  listen() {
    const { signal } = this;
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    addEventListener("resize", () => this.soon(), { signal });
    document.addEventListener("ntm-scale", () => this.soon(), { signal });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.soon(), { signal });
    signal.addEventListener("abort", () => this.player.stop());
  }

  /** Space plays, arrows move, but not where one types or presses something. */
  key(event) {
    if (event.target.closest("input, select, textarea, button, summary, canvas, a, dialog, [role=grid]") || event.ctrlKey || event.metaKey || event.altKey) return;
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
    player.grow(log.rows.length);
    const row = log.rows[player.at];
    player.show(row, log.alive);
    this.tell();
    if (row) {
      this.fetchSoon();
      this.over_time.show(log, player.at);
      this.present.show(row, traces.row(player.at, "small"), traces.row(player.at, "large"));
      this.words.show(this.reasons.of(player.at), traces.failed || "Loading…");
    } else this.untouched();
    this.rewinder.disabled = !row || row.step === log.step;
    this.forker.disabled = !row && log.rows.length > 0;
    this.compare.draw();
  }

  /** Fetch what is in view: at once where rows follow each other, else when scrubbing rests a moment. */
  fetchSoon() {
    const { log, player, traces } = this;
    clearTimeout(this.resting);
    const fetch = () => {
      const [lo, hi] = this.over_time.span(player.at, log.rows.length);
      const large = traces.missing(player.at, player.at + (player.timer ? 16 : 1), "large");
      this.lane.do([...large, ...traces.missing(lo, hi, "small"), ...this.reasons.missing(player.at)]);
    };
    if (player.timer || player.follow) fetch();
    else this.resting = setTimeout(fetch, REST_MS);
  }

  /** Before the first row there is only the state that the session began with. */
  async untouched() {
    this.words.show(undefined, "Nothing has been stepped yet. Send a row, and see what the network does with it.");
    if (!this.start) {
      this.start = get(`/v1/sessions/${this.id}/memory`);
      const { numbers } = await import("./msgpack.js");
      const after = Object.fromEntries((await this.start).state.map((tensor) => [tensor.name, numbers(tensor)]));
      this.fresh = { after, before: after };
    }
    if (this.fresh && !this.log.rows.length) this.present.show(undefined, this.fresh, this.fresh);
  }

  tell() {
    const { info, log } = this;
    fill(this.facts, `${info.model} ${info.version} (${this.model.family}) · step ${log.step} · revision ${log.revision} · ${bytes(info.state_bytes)} · begun ${ago(info.created_at)} ago`,
      info.forked_from ? [" · fork of ", h("a", { href: `#session=${info.forked_from}` }, info.forked_from)] : null,
      log.alive ? " · live" : " · not connected");
    const told = { create: "begun", reset: "reset", restore: "back", import: "state brought in", migrate: "another version" };
    fill(this.marks, log.marks.slice(-12).reverse().map(({ kind, step, revision }) => h("li", {}, `${told[kind] ?? kind}${kind === "restore" ? ` to step ${step}` : ""}, revision ${revision}`)));
  }

  look(at) {
    this.player.stop();
    this.player.go(at);
  }

  async step(rows) {
    await post(`/v1/sessions/${this.id}/steps`, { inputs: rows });
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
    await post(`/v1/sessions/${this.id}/${how}`, body, `"${this.info.incarnation}-${this.log.revision}"`);
    this.player.follow = true;
    say(told, ...actions);
  }

  async fork() {
    const made = await post(`/v1/sessions/${this.id}/fork`, this.point());
    const open = h("a", { href: `#session=${made.id}&compare=${this.id}` }, "Open it beside this one");
    say(`Forked at step ${made.step}.`, open);
    this.compare.with(made.id);
  }

  /** Everything that is known of the rows in view, as the server tells it. */
  async take() {
    const [lo, hi] = this.over_time.span(this.player.at, this.log.rows.length);
    const last = this.log.rows[hi - 1];
    if (!last) return;
    const query = `revision=${last.revision}&step=${last.step}&rows=${hi - lo}`;
    const { send } = await import("./api.js");
    const answer = await send("GET", `/v1/sessions/${this.id}/trace?${query}`, { accept: "application/json" });
    saveJson(`${this.id}-trace`, await answer.json());
  }

  async end() {
    if (!confirm(`Delete session ${this.id}? Its state and history go with it.`)) return;
    await remove(`/v1/sessions/${this.id}`);
    location.hash = "";
  }

  over(how) {
    say(`The session has ended: ${how}.`);
    this.soon();
  }

  comparing(id) {
    const place = `#session=${this.id}${id ? `&compare=${id}` : ""}`;
    history.replaceState(null, "", place);
  }
}
