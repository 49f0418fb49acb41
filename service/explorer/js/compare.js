// Two sessions of one model side by side at the same step, and the difference between them.

import { get } from "./api.js";
import { fill, guarded, h, number, say } from "./dom.js";
import { Figure } from "./figure.js";
import { Log } from "./log.js";
import { gridOf } from "./present.js";
import { numbers } from "./msgpack.js";
import { matrices } from "./series.js";
import { Traces } from "./traces.js";

export class Compare {
  /** view: the session's. chosen(id) is told which other session it is compared with. */
  constructor(view, chosen) {
    Object.assign(this, { view, chosen, other: null });
    this.select = h("select", { id: "other", onfocus: guarded(() => this.offer()), onchange: guarded(() => this.with(this.select.value)) }, h("option", { value: "" }, "no other session"));
    this.spec = matrices(view.model, view.traces)[0] ?? null;
    this.said = h("p", { class: "quiet", id: "difference" });
    this.figures = ["This session", "The other session", "Difference, this less the other"].map((title) => new Figure({ title, size: "m" }));
    this.outputs = new Figure({ title: "Difference of the outputs", size: "s" });
    this.plots = h("div", {}, h("div", { class: "pair" }, this.figures.slice(0, 2).map(({ element }) => element)), this.figures[2].element, this.outputs.element);
    this.body = h("div", { hidden: true }, this.said, this.plots);
    this.element = h("section", { class: "card compare", "aria-labelledby": "compare-title" },
      h("div", { class: "bar" }, h("h2", { id: "compare-title" }, "Compare"), h("label", { class: "inline" }, "with ", this.select)), this.body);
  }

  async offer() {
    const { info, id } = this.view;
    const { sessions } = await get("/v1/sessions", { model: info.model, limit: 200 });
    const known = new Set([...this.select.options].map(({ value }) => value));
    for (const one of sessions) {
      if (one.id !== id && !known.has(one.id)) this.select.append(h("option", { value: one.id }, `${one.id} (step ${one.step})`));
    }
  }

  /** Compare with a session; with none where the id is empty. */
  async with(id) {
    this.stop?.abort();
    this.other = null;
    this.body.hidden = !id;
    this.chosen(id);
    if (![...this.select.options].some(({ value }) => value === id)) this.select.append(h("option", { value: id }, id));
    this.select.value = id;
    if (!id) return;
    this.stop = new AbortController();
    const signal = AbortSignal.any([this.stop.signal, this.view.signal]);
    const log = new Log(id, () => this.view.soon(), () => this.with(""));
    const traces = new Traces(log, this.view.model, () => this.view.soon());
    fill(this.said, "Loading…");
    this.plots.hidden = true;
    try {
      const { model, state_bytes: size } = await get(`/v1/sessions/${id}`, {}, signal);
      const { info } = this.view;
      if (model !== info.model || size !== info.state_bytes) throw new Error(`${id} is a session of ${model}, with a state of ${size} bytes: only those of one kind are compared.`);
      await log.open(signal);
    } catch (error) {
      if (signal.aborted) return; // another was chosen meanwhile
      this.with("");
      throw error;
    }
    if (signal.aborted) return;
    this.other = { log, traces };
    this.view.soon();
  }

  /** The id of the other session, empty where there is none. */
  get id() {
    return this.other?.log.session ?? "";
  }

  /** What fetches what is missing of the other session at the step that is looked at. */
  missing() {
    const { view, other, spec } = this;
    const row = view.log.rows[view.player.at];
    const at = row && other && spec ? other.log.at(row.step) : -1;
    return at < 0 ? [] : other.traces.missing(at, at + 1, spec.kind, !view.player.follow);
  }

  draw() {
    if (!this.other || !this.spec) return;
    const { view, other, spec } = this;
    const place = view.looks.shown();
    const row = view.log.rows[place];
    const at = row ? other.log.at(row.step) : -1;
    const stands = row && at < 0 && other.log.step === row.step ? this.standing() : null;
    const there = other.log.rows[at] ?? stands;
    this.plots.hidden = !row || !there;
    if (this.plots.hidden) {
      fill(this.said, `The other session keeps no row of step ${row?.step ?? 0}; it stands at step ${other.log.step}.`);
      return;
    }
    const ours = view.traces.row(place, spec.kind);
    const theirs = at < 0 ? stands.tensors : other.traces.row(at, spec.kind);
    this.figures[0].show(gridOf(spec, ours, false, row));
    this.figures[1].show(gridOf(spec, theirs, false, there));
    this.difference(row, ours?.after[spec.name], theirs?.after[spec.name]);
    this.both(row.step);
  }

  /** A fork that has not gone on keeps no rows of its own; what it began with is what it holds. */
  standing() {
    const { other } = this;
    if (other.standing?.revision === other.log.revision) return other.standing;
    const stands = { revision: other.log.revision, step: other.log.step, tensors: undefined };
    other.standing = stands;
    get(`/v1/sessions/${other.log.session}/memory`).then(({ state }) => {
      const after = Object.fromEntries(state.map((tensor) => [tensor.name, numbers(tensor)]));
      stands.tensors = { after, before: after };
      this.view.soon();
    }, (error) => say(error.detail ?? error.message));
    return stands;
  }

  difference(row, ours, theirs) {
    this.figures[2].element.hidden = !ours || !theirs;
    if (!ours || !theirs) {
      fill(this.said, this.other.traces.failed || this.view.traces.failed || "Loading…");
      return;
    }
    const apart = ours.map((value, at) => value - theirs[at]);
    const most = apart.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
    const slots = this.spec.dims[0];
    const width = apart.length / slots;
    const moved = Array.from({ length: slots }, (_, slot) => apart.subarray(slot * width, (slot + 1) * width).some((value) => Math.abs(value) > 1e-4)).filter(Boolean).length;
    fill(this.said, most < 1e-4 ? `At step ${row.step} both hold the same.` : `At step ${row.step} they differ by up to ${number(most, 3)}, in ${moved} of ${slots} slots.`);
    const grid = gridOf(this.spec, { after: { [this.spec.name]: apart }, before: {} }, false, row);
    this.figures[2].show({ ...grid, fixed: [-Math.max(most, 1e-6), Math.max(most, 1e-6)] });
  }

  /** The outputs of both over the last steps that both have. */
  both(step) {
    const steps = Array.from({ length: 64 }, (_, at) => step - 63 + at).filter((one) => this.view.log.at(one) >= 0 && this.other.log.at(one) >= 0);
    const pairs = steps.map((one) => [this.view.log.rows[this.view.log.at(one)].output, this.other.log.rows[this.other.log.at(one)].output]);
    const rows = this.view.model.output.dims[0];
    const data = new Float32Array(rows * steps.length);
    pairs.forEach(([ours, theirs], column) => {
      for (let at = 0; at < rows; at++) data[at * steps.length + column] = ours[at] - theirs[at];
    });
    this.outputs.show({ columns: steps.length, rows, data, fixed: [-1, 1], cursor: steps.indexOf(step), column: (at) => `step ${steps[at]}`, row: (at) => `output ${at}` });
  }
}
