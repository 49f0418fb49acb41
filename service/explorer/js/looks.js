// What is fetched of a session's view, and when: at once what somebody wishes to see, and what others
// step as often as the pace lets it.

import { Lane, Pace } from "./lane.js";

const REST_MS = 60; // for which scrubbing rests before it is looked there
const AHEAD = 16; // rows whose memory is fetched while it plays

export class Looks {
  /** view: the session's. */
  constructor(view) {
    Object.assign(this, { view, lane: new Lane(), pace: new Pace(), wish: null, resting: null, last: -1 });
  }

  /** Whatever comes next is wished for: one stepped it oneself. */
  wished() {
    this.wish = null;
  }

  /** Fetch what is missing of the view. Called with every frame that is drawn. */
  look() {
    const { player, over_time, compare } = this.view;
    const wish = [player.follow ? "live" : player.at, over_time.count.value, compare.id].join();
    if (wish === this.resting?.wish) return;
    clearTimeout(this.resting?.timer);
    this.resting = null;
    const jobs = this.missing();
    if (!jobs.length) return;
    if (wish === this.wish) this.again(jobs);
    else if (player.timer || player.follow) this.fetch(wish, jobs);
    else this.resting = { wish, timer: setTimeout(() => this.fetch(wish, this.missing()), REST_MS) };
  }

  fetch(wish, jobs) {
    Object.assign(this, { wish, resting: null });
    this.lane.do(jobs);
  }

  /** Nobody wished for it anew: others have stepped. */
  again(jobs) {
    if (this.lane.busy) return;
    const left = this.pace.left();
    clearTimeout(this.later);
    if (left > 0) this.later = setTimeout(() => this.view.soon(), left);
    else this.lane.do(jobs.map((job) => this.pace.counted(job)));
  }

  /** Live, the server runs the rows in view once, for the words, and tells the rest of them from that. */
  missing() {
    const { log, player: { at, follow, timer }, reasons, traces, over_time, compare } = this.view;
    const [lo, hi] = over_time.span(at, log.rows.length);
    if (!follow) return [...traces.missing(at, at + (timer ? AHEAD : 1), "large"), ...reasons.missing(at), ...traces.missing(lo, hi, "small"), ...compare.missing()];
    const jobs = [...reasons.missing(at, hi - lo), ...traces.missing(at, at + 1, "large", false), ...traces.missing(lo, hi, "small", false), ...compare.missing()];
    return jobs.length ? [...jobs, async () => { this.last = at; }] : jobs;
  }

  /** The row whose memory is shown: the one that is looked at, or live the newest that has been told of. */
  shown() {
    const { log, player, traces } = this.view;
    return player.follow && log.rows[this.last] && !traces.told(player.at) ? this.last : player.at;
  }
}
