// Work that is done one piece after the other, the latest wish first: who scrubs past a thousand rows
// does not ask for all of them.

const LONGEST_MS = 10_000;
const SHARE = 40; // of the time, one part for the request and the others for everybody else

/** When to look again at what grows while others step: the longer a look took, the later. */
export const nextLook = (begun, leastMs) => performance.now() + Math.min(LONGEST_MS, Math.max(leastMs, SHARE * (performance.now() - begun)));

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
    while (this.waiting.length) await this.waiting.shift()();
    this.busy = false;
  }
}
