// The demo of few-shot learning: three signs are shown once each with a name, then others are named by
// the network. As in training a drawing is first shown alone, then once more with its label.

import { post } from "./api.js";
import { button, fill, guarded, h, say } from "./dom.js";
import { Drawing } from "./drawing.js";
import { glyphRow } from "./form_glyph.js";
import { GLYPHS, linesOf } from "./glyphs.js";

const NAMES = ["ba", "zu", "ko"];
const SMALL_REM = 0.9; // a cell
const TAUGHT = [0, 1]; // whose drawings teach, by their place in GLYPHS
const TESTED = [2, 3]; // and whose test
const ASKED = -1; // no label

export function show(main, demo, model, detail) {
  const lesson = new Lesson(model, detail);
  fill(main, h("h1", {}, demo.title), h("p", {}, demo.text), lesson.teaching(), lesson.testing());
}

class Lesson {
  constructor(model, detail) {
    Object.assign(this, { model, form: detail.form, session: null, lessons: 0, tests: 0, truth: null });
    this.signs = NAMES.map((name, at) => ({ grid: this.grid(`Sign ${at + 1}`, () => { this.signs[at].own = true; }), field: h("input", { value: name, maxlength: "12", "aria-label": `Name of sign ${at + 1}` }) }));
    this.signs.forEach(({ grid }, at) => this.put(grid, at, TAUGHT[0]));
    this.asked = this.grid("The sign to name", () => { this.truth = null; }); // drawn on: what it is, nobody knows
    this.answer = h("div", { id: "answer", role: "status" });
    this.look = h("p", {});
  }

  grid(name, changed) {
    return new Drawing(this.form.height, this.form.width, name, SMALL_REM, changed);
  }

  put(grid, sign, drawer) {
    grid.draw(linesOf(GLYPHS[sign][drawer], this.form.height, this.form.width), 0);
  }

  teaching() {
    const columns = this.signs.map(({ grid, field }) => h("div", {}, grid.element, h("p", {}, "Its name ", field)));
    const more = button("Once more, drawn by others", guarded(() => this.again()), { id: "again", disabled: true });
    this.more = more;
    return h("section", { class: "card", "aria-labelledby": "teach-title" }, h("h2", { id: "teach-title" }, "1. Teach it"),
      h("p", { class: "quiet" }, "Characters of Early Aramaic as people drew them; draw others if you like."), h("div", { class: "signs" }, columns),
      h("div", { class: "buttons" }, button("Teach these three", guarded(() => this.teach()), { class: "main", id: "teach" }), more));
  }

  testing() {
    const others = this.signs.map((_, at) => button(`Sign ${at + 1} by another hand`, () => this.draw(at), { class: "small", "data-sign": at }));
    this.draw(1);
    return h("section", { class: "card", "aria-labelledby": "test-title" }, h("h2", { id: "test-title" }, "2. Test it"), h("div", { class: "signs" },
      h("div", {}, this.asked.element, h("div", { class: "buttons" }, others, button("Clear", () => { this.asked.clear(); this.truth = null; }, { class: "small" }))),
      h("div", {}, button("What is this?", guarded(() => this.ask()), { class: "main", id: "ask" }), this.answer, this.look)));
  }

  draw(sign) {
    this.put(this.asked, sign, TESTED[this.tests++ % TESTED.length]);
    this.truth = sign;
  }

  /** A session that has seen each sign once. */
  async teach() {
    this.session = (await post(`/v1/models/${this.model.name}/sessions`, { version: this.model.version })).id;
    await this.seen(this.signs.map(({ grid }) => grid.bits()));
    fill(this.answer);
    this.more.disabled = false;
    say("It has seen each of the three once. Now ask it.");
  }

  async again() {
    this.lessons += 1;
    this.signs.forEach(({ grid, own }, at) => { if (!own) this.put(grid, at, TAUGHT[this.lessons % TAUGHT.length]); });
    await this.seen(this.signs.map(({ grid }) => grid.bits()));
    say("It has seen each of the three once more.");
  }

  /** Each drawing alone, then with its label. */
  async seen(drawings) {
    const rows = drawings.flatMap((bits, at) => [glyphRow(this.form, bits, ASKED), glyphRow(this.form, bits, at)]);
    await post(`/v1/sessions/${this.session}/steps`, { inputs: rows });
    fill(this.look, h("a", { href: `#session=${this.session}` }, "See what is in its memory"));
  }

  async ask() {
    if (!this.session) throw new Error("Teach it first.");
    const { outputs } = await post(`/v1/sessions/${this.session}/steps`, { inputs: [glyphRow(this.form, this.asked.bits(), ASKED)] });
    const shares = outputs[0].map((share, at) => ({ share, name: this.signs[at]?.field.value ?? `a name not taught (${at + 1})`, at })).sort((one, other) => other.share - one.share);
    const best = shares[0];
    const verdict = this.truth === null || this.signs[this.truth].own ? "" // of a sign of one's own there is no other drawing
      : best.at === this.truth ? " That is right." : ` It is ${this.signs[this.truth].field.value}.`;
    fill(this.answer, h("p", { class: "verdict" }, "It says ", h("strong", {}, best.name), `.${verdict}`),
      h("ul", { class: "shares" }, shares.map(({ name, share }) => h("li", {}, `${name} `, h("meter", { min: "0", max: "1", value: String(share), "aria-label": name }), ` ${Math.round(100 * share)}%`))));
  }
}
