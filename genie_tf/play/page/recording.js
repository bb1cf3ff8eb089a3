// The button that records, and links to what was recorded.

import { byId, icon, make } from "./dom.js";

export class Recording {
  constructor(connection, world) {
    Object.assign(this, { connection, world, isOn: false });
    byId("do-record").onclick = () => this.toggle();
  }

  toggle() {
    this.connection.send("record", { on: !this.isOn });
  }

  show(isOn, isThere) {
    this.isOn = isOn;
    const { id, recordings } = this.world, button = byId("do-record");
    button.classList.toggle("on", isOn);
    button.setAttribute("aria-pressed", isOn);
    button.querySelector("span").textContent = isOn ? "Stop" : "Record";
    byId("downloads").replaceChildren(...(isOn || !isThere ? [] : recordings.map((form) =>
      make("a", { href: `recordings/${id}.${form}`, download: `world.${form}` }, icon("download"), form.toUpperCase()))));
  }
}
