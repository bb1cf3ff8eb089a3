// Frames a second, and the time from a key to its image.

import { byId } from "./dom.js";

export class Meter {
  constructor() {
    this.drawn = []; // When frames of the last second were drawn.
    this.delay = null; // In milliseconds.
    this.pressedAt = new Map(); // When, by number of message.
    setInterval(() => this.show(), 500);
  }

  press(id) {
    this.pressedAt.set(id, performance.now());
  }

  countFrame(now) {
    this.drawn.push(now);
  }

  // A frame is drawn that knows the message with this number.
  measureDelay(id) {
    if (!this.pressedAt.has(id)) return;
    // Which benchmarks read.
    const times = { start: this.pressedAt.get(id), end: performance.now() };
    const { duration } = performance.measure("key to picture", times);
    this.delay = this.delay === null ? duration : 0.8 * this.delay + 0.2 * duration;
    this.pressedAt = new Map([...this.pressedAt].filter(([key]) => key > id));
  }

  show(now = performance.now()) {
    this.drawn = this.drawn.filter((time) => time > now - 1000);
    const parts = [`${this.drawn.length} fps`];
    if (this.delay !== null) parts.push(`${Math.round(this.delay)} ms`);
    byId("meter").textContent = byId("game").hidden ? "" : parts.join(" · ");
  }
}
