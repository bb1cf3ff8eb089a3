// What each action does, side by side; names and keys for them.

import { cap, normal } from "./keys.js";
import { paint } from "./pictures.js";
import { colour } from "./strip.js";

const PERIOD = 120; // Milliseconds that each frame of a preview stays.

export class Calibration {
  constructor(world, keys, { look, changed, say }) {
    Object.assign(this, { world, keys, look, changed, say });
    this.dialog = document.getElementById("calibration");
    this.cards = [];
    document.getElementById("look-again").onclick = () => this.begin();
    document.getElementById("forget").onclick = () => {
      keys.reset();
      this.build();
      changed();
    };
    // Escape and keys that are being bound are not the page's.
    this.dialog.addEventListener("keydown", (event) => this.listen(event), true);
    this.dialog.addEventListener("close", () => clearInterval(this.timer));
  }

  open() {
    this.build();
    this.dialog.showModal();
    this.begin();
    let place = 0;
    this.timer = setInterval(() => {
      place += 1;
      for (const { canvas, frames } of this.cards) {
        // The last frame stays for a while.
        if (frames.length) paint(canvas, frames[Math.min(place % (frames.length + 4), frames.length - 1)]);
      }
    }, PERIOD);
  }

  begin() {
    for (const card of this.cards) card.frames = [];
    this.look();
  }

  add({ action, pixels }) {
    this.cards[action]?.frames.push(pixels);
  }

  build() {
    const frames = this.cards.map((card) => card.frames);
    this.waiting = null;
    this.cards = this.keys.names.map((name, action) => {
      const card = document.createElement("div");
      card.className = "card";
      card.style.setProperty("--colour", colour(action, this.keys.names.length));
      const canvas = document.createElement("canvas");
      canvas.width = this.world.width;
      canvas.height = this.world.height;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Action ${action}, held`);
      const input = document.createElement("input");
      input.value = name;
      input.placeholder = `Action ${action}`;
      input.maxLength = 24;
      input.setAttribute("aria-label", `Name of action ${action}`);
      input.oninput = () => {
        this.keys.name(action, input.value.trim());
        this.changed();
      };
      const caps = document.createElement("div");
      caps.className = "caps";
      card.append(canvas, input, caps);
      return { card, canvas, caps, frames: frames[action] ?? [] };
    });
    document.getElementById("cards").replaceChildren(...this.cards.map(({ card }) => card));
    this.fillCaps();
  }

  fillCaps() {
    this.cards.forEach(({ caps }, action) => {
      const bound = this.keys.of(action).map((keys) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "cap";
        button.textContent = cap(keys);
        button.title = `Remove ${cap(keys)}`;
        button.setAttribute("aria-label", `Remove the key ${cap(keys)} from action ${action}`);
        button.onclick = () => this.change(() => this.keys.unbind(keys));
        return button;
      });
      const add = document.createElement("button");
      add.type = "button";
      add.className = "bind";
      add.textContent = this.waiting === action ? "Press a key" : "+ key";
      add.setAttribute("aria-label", `Bind a key to action ${action}`);
      add.onclick = () => {
        this.change(() => (this.waiting = action));
        this.say(`Press a key for action ${action}; Escape for none.`);
      };
      const idle = document.createElement("button");
      idle.type = "button";
      idle.className = "bind";
      idle.textContent = "+ idle";
      idle.title = "What happens while no key is held";
      idle.setAttribute("aria-label", `Action ${action} happens while no key is held`);
      idle.hidden = "" in this.keys.bindings;
      idle.onclick = () => this.change(() => this.keys.bind("", action));
      caps.replaceChildren(...bound, add, idle);
    });
  }

  change(how) {
    how();
    const place = [...this.dialog.querySelectorAll("button")].indexOf(document.activeElement);
    this.fillCaps();
    this.dialog.querySelectorAll("button")[place]?.focus();
    this.changed();
  }

  listen(event) {
    if (this.waiting === null) return;
    event.preventDefault();
    event.stopPropagation();
    const action = this.waiting, key = normal(event.key);
    if (["Shift", "Control", "Alt", "Meta"].includes(key)) return;
    this.waiting = null;
    const refusal = key === "Escape" ? "No key bound." : this.keys.bind(key, action);
    this.change(() => {});
    this.say(refusal ?? `${cap(key)} is now ${this.keys.title(action)}.`);
  }
}
