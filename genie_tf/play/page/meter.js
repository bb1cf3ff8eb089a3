// Frames per second, and the time from a key to its frame.

import { byId } from "./dom.js";

export class Meter {
  constructor() {
    this.drawn = []; // Times at which the frames of the last second were drawn.
    this.delay = null; // Milliseconds from a key to its frame, a moving average.
    this.pressedAt = new Map(); // Time of each key press, by message id.
    setInterval(() => this.show(), 500);
  }

  press(id) {
    this.pressedAt.set(id, performance.now());
  }

  countFrame(now) {
    this.drawn.push(now);
  }

  // Called when a frame is drawn; `id` is the newest message it was made with.
  measureDelay(id) {
    if (!this.pressedAt.has(id)) return;
    // benchmarks/play_browser.py reads these measures.
    const times = { start: this.pressedAt.get(id), end: performance.now() };
    const { duration } = performance.measure("key to frame", times);
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
