// Work that is done one piece after the other, the latest wish first: who scrubs past a thousand rows
// does not ask for all of them. And how often a page may look again at what others step.

export class Lane {
  constructor() {
    this.waiting = [];
    this.busy = false;
  }

  /** Do these next, in order, in place of whatever has not been begun. jobs: functions of nothing. */
  async do(jobs) {
    this.waiting = jobs;
    if (this.busy) return;
    this.busy = true;
    while (this.waiting.length) {
      try {
        await this.waiting.shift()();
      } catch { /* what it was for says that it has not come */ }
    }
    this.busy = false;
  }
}

const SHARE = 25; // one part of the time for looks, all of them together, the others for everybody else
const LEAST_MS = 300; // from the end of one look to the next
const SPARE_MS = 100; // of looks that may be saved up while nothing grows

/** How often one looks again unasked: in any time t its looks take t / SHARE, SPARE_MS and one look at most. */
export class Pace {
  constructor(now = () => performance.now()) {
    Object.assign(this, { now, spare: 0, at: now(), ended: -Infinity });
  }

  /** Milliseconds until the next look may begin. */
  left() {
    this.pass();
    return Math.max(0, this.ended + LEAST_MS - this.now(), -this.spare * SHARE);
  }

  /** A job whose time counts. */
  counted(job) {
    return async () => {
      const begun = this.now();
      await job();
      this.pass();
      this.ended = this.now();
      this.spare -= this.ended - begun;
    };
  }

  pass() {
    const now = this.now();
    this.spare = Math.min(SPARE_MS, this.spare + (now - this.at) / SHARE);
    this.at = now;
  }
}
