// Work that is done one piece after the other, the latest wish first: who scrubs past a thousand rows
// does not ask for all of them.

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
