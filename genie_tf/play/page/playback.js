// Pausing, stepping, rewinding and branches.

import { byId, icon, make } from "./dom.js";

export class Playback {
  constructor(connection, timeline, fps) {
    Object.assign(this, { connection, timeline, interval: 1000 / fps });
    this.paused = ""; // "manual", "until action", or "" if not paused.
    this.goingTo = null; // The requested moment, until it is shown.
    this.rewinding = null;
    byId("do-pause").onclick = () => this.togglePause();
    const button = byId("do-rewind");
    button.onpointerdown = () => this.rewind(true);
    button.onpointerup = button.onpointerleave = () => this.rewind(false);
    button.onclick = ({ detail }) => detail || this.goToPrevious();
  }

  pause(why) {
    this.paused = why;
    const isPaused = why === "manual", button = byId("do-pause");
    this.connection.send("pause", { on: Boolean(why) });
    button.replaceChildren(icon(isPaused ? "resume" : "pause"), make("span", { textContent: isPaused ? "Resume" : "Pause" }));
    button.setAttribute("aria-pressed", isPaused);
    byId("badge").hidden = !isPaused;
    byId("badge").textContent = "paused";
  }

  togglePause() {
    this.pause(this.paused === "manual" ? "" : "manual");
  }

  step(action) {
    if (!this.paused) this.pause("manual");
    this.connection.send("step", { action });
  }

  pauseUntilAction() {
    if (!this.paused) this.pause("until action");
  }

  goTo(number) {
    if (this.goingTo !== null || number === this.timeline.number) return;
    this.pauseUntilAction();
    this.goingTo = number;
    this.connection.send("go_to", { number });
  }

  // Called when an earlier moment is shown.
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
      const button = make("button", { title: "Go to the end of this branch" }, icon("branch"), `Line ${id + 1}: ${last} moments`);
      button.onclick = () => {
        this.pause("until action");
        this.connection.send("branch", { id });
      };
      return button;
    }));
  }
}
