// Where in the recorded rows one looks: play, pause, step, scrub, or stay at the newest.

import { button, calm, h } from "./dom.js";

const SPEEDS = [2, 8, 30];

export class Player {
  /** moved() is called whenever another row is looked at. */
  constructor(moved) {
    this.moved = moved;
    this.at = -1;
    this.count = 0;
    this.follow = true;
    this.timer = null;
    this.play = button("Play", () => this.toggle(), { class: "main", id: "play", "aria-keyshortcuts": "Space" });
    this.live = button("Live", () => this.last(true), { id: "live", "aria-pressed": "true", title: "Stay at the newest row" });
    this.slider = h("input", { type: "range", min: "0", max: "0", value: "0", id: "scrub", "aria-label": "Row looked at", oninput: () => this.go(Number(this.slider.value)) });
    this.speed = h("select", { "aria-label": "Rows a second", onchange: () => this.timer && this.start() },
      SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 8 }, `${speed} rows/s`)));
    this.where = h("span", { class: "where" });
    this.element = h("div", { class: "player", role: "group", "aria-label": "Playback" },
      h("div", { class: "buttons" },
        button("|◀", () => this.go(0), { "aria-label": "First row" }),
        button("◀", () => this.go(this.at - 1), { "aria-label": "One row back" }),
        this.play,
        button("▶", () => this.go(this.at + 1), { "aria-label": "One row on" }),
        button("▶|", () => this.last(false), { "aria-label": "Last row" }),
        this.live, this.speed),
      this.slider, this.where);
  }

  /** There are so many rows, and the session stands at one of them. */
  grow(count, now = count - 1) {
    this.count = count;
    this.slider.max = String(Math.max(count - 1, 0));
    if (this.follow || this.at < 0) this.at = now;
    this.at = Math.min(this.at, count - 1);
  }

  go(at, follow = false) {
    this.at = Math.max(0, Math.min(at, this.count - 1));
    this.follow = follow;
    this.moved();
  }

  last(follow) {
    this.stop();
    this.go(this.count - 1, follow);
  }

  toggle() {
    if (this.timer) this.stop();
    else this.start();
    this.moved();
  }

  start() {
    this.stop();
    if (this.at >= this.count - 1) this.at = 0;
    this.follow = false;
    const rate = Number(this.speed.value);
    this.timer = setInterval(() => {
      if (this.at >= this.count - 1) this.stop();
      this.go(this.at + 1);
    }, 1000 / (calm() ? Math.min(rate, 2) : rate));
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
  }

  /** row: what is looked at, alive: is the connection there? */
  show(row, alive) {
    this.play.textContent = this.timer ? "Pause" : "Play";
    this.live.setAttribute("aria-pressed", String(this.follow));
    this.live.classList.toggle("alive", alive);
    this.slider.value = String(Math.max(this.at, 0));
    this.slider.setAttribute("aria-valuetext", row ? `step ${row.step}` : "before the first row");
    const left = row?.left ? " (left behind by going back)" : "";
    this.where.textContent = row ? `step ${row.step} · row ${this.at + 1} of ${this.count} · revision ${row.revision}${left}` : "no rows yet";
  }
}
