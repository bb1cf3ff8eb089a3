// Pausing, single frames, going back, and lines left behind.

import { byId, icon, make } from "./dom.js";

export class Playback {
  constructor(connection, timeline, fps) {
    Object.assign(this, { connection, timeline, interval: 1000 / fps });
    this.paused = ""; // "by hand", or "going back", which the next action ends.
    this.goingTo = null; // The moment asked for, until it is shown.
    this.rewinding = null;
    byId("do-pause").onclick = () => this.togglePause();
    const button = byId("do-rewind");
    button.onpointerdown = () => this.rewind(true);
    button.onpointerup = button.onpointerleave = () => this.rewind(false);
    button.onclick = ({ detail }) => detail || this.goToPrevious();
  }

  pause(why) {
    this.paused = why;
    const isPaused = why === "by hand", button = byId("do-pause");
    this.connection.send("pause", { on: Boolean(why) });
    button.replaceChildren(icon(isPaused ? "go" : "pause"), make("span", { textContent: isPaused ? "Go on" : "Pause" }));
    button.setAttribute("aria-pressed", isPaused);
    byId("badge").hidden = !isPaused;
    byId("badge").textContent = "paused";
  }

  togglePause() {
    this.pause(this.paused === "by hand" ? "" : "by hand");
  }

  step(action) {
    if (!this.paused) this.pause("by hand");
    this.connection.send("step", { action });
  }

  pauseUntilAction() {
    if (!this.paused) this.pause("going back");
  }

  goTo(number) {
    if (this.goingTo !== null || number === this.timeline.number) return;
    this.pauseUntilAction();
    this.goingTo = number;
    this.connection.send("go_to", { number });
  }

  // A moment of before is shown.
  arrive(number) {
    this.timeline.number = number;
    if (number === this.goingTo) this.goingTo = null;
  }

  goToPrevious() {
    this.goTo(this.timeline.clamp(this.timeline.number - 1));
  }

  rewind(isOn) {
    clearInterval(this.rewinding);
    if (!isOn) return;
    this.rewinding = setInterval(() => this.goToPrevious(), this.interval);
    this.goToPrevious();
  }

  showBranches(branches) {
    byId("branches").replaceChildren(...branches.map(({ id, last }) => {
      const button = make("button", { title: "Go to the end of what you have left" }, icon("branch"), `Line ${id + 1}: ${last} moments`);
      button.onclick = () => {
        this.pause("going back");
        this.connection.send("branch", { id });
      };
      return button;
    }));
  }
}
