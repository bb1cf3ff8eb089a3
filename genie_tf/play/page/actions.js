// The buttons of the actions; tells the server which action is held, by button or key.

import { byId, make } from "./dom.js";
import { keyLabel } from "./keys.js";
import { actionColor } from "./timeline.js";

export class Actions {
  constructor(connection, keys, playback, meter) {
    Object.assign(this, { connection, keys, playback, meter });
    this.buttonAction = null; // The action of a button that is held down.
    this.sent = null; // What the server last heard.
    this.id = 0;
    this.show();
  }

  get current() {
    return this.buttonAction ?? this.keys.action;
  }

  show() {
    byId("actions").replaceChildren(...this.keys.names.map((_, action) => this.makeButton(action)));
    this.update();
  }

  makeButton(action) {
    const { connection, keys } = this;
    const labels = keys.combinations(action).map((combination) => make("kbd", { textContent: keyLabel(combination) }));
    const button = make("button", { className: "action" }, make("b", { textContent: keys.title(action) }), make("span", {}, ...labels));
    button.style.setProperty("--color", actionColor(action, keys.names.length));
    button.onpointerdown = (event) => {
      event.preventDefault(); // The keyboard stays where it is.
      button.setPointerCapture(event.pointerId);
      this.buttonAction = action;
      this.update(true);
    };
    button.onpointerup = button.onpointercancel = () => {
      this.buttonAction = null;
      this.update();
    };
    // Enter and the space bar, on a button.
    button.onclick = ({ detail }) => detail || connection.send("step", { action });
    return button;
  }

  // Tells the server which action is held now, if that has changed or it was just pressed.
  update(isPressed = false) {
    const { connection, playback, current: action } = this;
    [...byId("actions").children].forEach((button, place) => button.classList.toggle("active", place === action));
    if (isPressed && action !== null && playback.paused === "by hand") return connection.send("step", { action });
    if (isPressed && playback.paused === "going back") playback.pause("");
    if (action === this.sent && !isPressed) return;
    this.sent = action;
    this.id += 1;
    if (isPressed) this.meter.press(this.id);
    connection.send("act", { action, id: this.id });
  }

  release() {
    this.buttonAction = null;
    this.keys.pressed = [];
    this.update();
  }
}
