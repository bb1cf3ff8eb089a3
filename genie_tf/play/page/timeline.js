// Timeline of the actions taken, with moments to go back to.

import { byId } from "./dom.js";

const WIDTH = 7, HEIGHT = 34;

export const actionColor = (action, count) => `hsl(${Math.round((action * 360) / count + 200) % 360} 72% 66%)`;

export class Timeline {
  constructor(keys, goTo) {
    const element = (this.element = byId("timeline"));
    this.canvas = element.querySelector("canvas");
    this.keys = keys;
    this.load(0, [null]);
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      goTo(this.at(event));
    });
    element.addEventListener("pointermove", (event) => event.buttons && goTo(this.at(event)));
    element.addEventListener("keydown", ({ key }) => {
      const to = {
        ArrowLeft: this.number - 1, ArrowRight: this.number + 1, Home: this.first, End: this.last,
        PageUp: this.number - 24, PageDown: this.number + 24,
      }[key];
      if (to !== undefined) goTo(this.clamp(to));
    });
  }

  get last() {
    return this.first + this.actions.length - 1;
  }

  clamp(number) {
    return Math.max(this.first, Math.min(this.last, number));
  }

  at(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    return this.clamp(this.first + Math.floor(x / WIDTH));
  }

  load(first, actions) {
    Object.assign(this, { first, actions, number: first + actions.length - 1 });
  }

  // Adds a moment, replacing all moments from its number on.
  add(number, action) {
    this.actions.length = number - this.first;
    this.actions.push(action);
    this.number = number;
  }

  forget(first) {
    this.actions.splice(0, first - this.first);
    this.first = first;
  }

  draw() {
    const { element, canvas, keys } = this;
    const width = Math.max(this.actions.length * WIDTH, 1), ratio = devicePixelRatio;
    canvas.width = width * ratio;
    canvas.height = HEIGHT * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${HEIGHT}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "600 11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let from = 0, to; from < this.actions.length; from = to) {
      for (to = from + 1; this.actions[to] === this.actions[from] && to < this.actions.length; to++);
      this.drawRun(context, from, to);
    }
    const x = (this.number - this.first) * WIDTH;
    context.globalAlpha = 1;
    context.fillStyle = "#fff";
    context.fillRect(x + WIDTH - 2, 0, 2, HEIGHT);
    element.scrollLeft = x - element.clientWidth * 0.8;
    const action = this.actions[this.number - this.first];
    const title = action === null ? "the first frame" : keys.title(action);
    Object.assign(element, {
      ariaValueMin: this.first, ariaValueMax: this.last, ariaValueNow: this.number,
      ariaValueText: `Moment ${this.number} of ${this.last}, ${title}`,
    });
  }

  // Draws a run of the same action, `from` to before `to`; fainter after the current moment.
  drawRun(context, from, to) {
    const action = this.actions[from], now = this.number - this.first + 1;
    context.fillStyle = action === null ? "#5b6478" : actionColor(action, this.keys.names.length);
    for (const [begin, end, alpha] of [[from, Math.min(to, now), 1], [Math.max(from, now), to, 0.3]]) {
      if (begin >= end) continue;
      context.globalAlpha = alpha;
      context.beginPath();
      context.roundRect(begin * WIDTH + 0.5, 6, (end - begin) * WIDTH - 1, HEIGHT - 12, 3);
      context.fill();
    }
    const label = action === null ? "" : this.keys.names[action] || `${action}`;
    context.globalAlpha = 1;
    context.fillStyle = "#0b0d12";
    if (context.measureText(label).width + 8 < (to - from) * WIDTH) context.fillText(label, from * WIDTH + 5, HEIGHT / 2 + 0.5);
  }
}
