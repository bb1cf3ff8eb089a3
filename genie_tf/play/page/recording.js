// The record button and download links.

import { byId, icon, make } from "./dom.js";

export class Recording {
  constructor(connection, world) {
    Object.assign(this, { connection, world, isOn: false });
    byId("do-record").onclick = () => this.toggle();
  }

  toggle() {
    this.connection.send("record", { on: !this.isOn });
  }

  show(isOn, hasRecording) {
    this.isOn = isOn;
    const { id, recordings } = this.world, button = byId("do-record");
    button.classList.toggle("on", isOn);
    button.setAttribute("aria-pressed", isOn);
    button.querySelector("span").textContent = isOn ? "Stop" : "Record";
    byId("downloads").replaceChildren(...(isOn || !hasRecording ? [] : recordings.map((form) =>
      make("a", { href: `recordings/${id}.${form}`, download: `world.${form}` }, icon("download"), form.toUpperCase()))));
  }
}
