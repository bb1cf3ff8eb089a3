// Action buttons; tells the server which action is held, by button or by key.

import { byId, make } from "./dom.js";
import { keyLabel } from "./keys.js";
import { actionColor } from "./timeline.js";

export class Actions {
  constructor(connection, keys, playback, meter) {
    Object.assign(this, { connection, keys, playback, meter });
    this.buttonAction = null; // The action of the button held down.
    this.sent = null; // The action last sent to the server.
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
      event.preventDefault(); // Keep the keyboard focus.
      button.setPointerCapture(event.pointerId);
      this.buttonAction = action;
      this.update(true);
    };
    button.onpointerup = button.onpointercancel = () => {
      this.buttonAction = null;
      this.update();
    };
    // Enter or the space bar on a button.
    button.onclick = ({ detail }) => detail || connection.send("step", { action });
    return button;
  }

  // Sends the held action to the server if it has changed or was just pressed.
  update(isPressed = false) {
    const { connection, playback, current: action } = this;
    [...byId("actions").children].forEach((button, index) => button.classList.toggle("active", index === action));
    if (isPressed && action !== null && playback.paused === "manual") return connection.send("step", { action });
    if (isPressed && playback.paused === "until action") playback.pause("");
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
