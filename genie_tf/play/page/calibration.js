// What each action does, side by side; names and keys for them.

import { byId, make, say } from "./dom.js";
import { paint } from "./images.js";
import { keyLabel, normalizeKey } from "./keys.js";
import { actionColor } from "./timeline.js";

const PERIOD = 120; // Milliseconds that each frame of a preview stays.

export class Calibration {
  // `look` asks for previews, which `add` takes; `changed` is called after names or keys change.
  constructor(world, keys, look, changed) {
    Object.assign(this, { world, keys, look, changed, cards: [] });
    this.dialog = byId("calibration");
    byId("look-again").onclick = () => this.begin();
    byId("forget").onclick = () => {
      keys.reset();
      this.build();
      changed();
    };
    // Escape and keys that are being bound are not the page's.
    this.dialog.addEventListener("keydown", (event) => this.bindKey(event), true);
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
    const { keys, world: { width, height } } = this;
    const frames = this.cards.map((card) => card.frames);
    this.waiting = null; // The action whose key is to be pressed.
    this.cards = keys.names.map((name, action) => {
      const canvas = make("canvas", { width, height, role: "img", ariaLabel: `Action ${action}, held` });
      const input = make("input", { value: name, placeholder: `Action ${action}`, maxLength: 24, ariaLabel: `Name of action ${action}` });
      input.oninput = () => {
        keys.rename(action, input.value.trim());
        this.changed();
      };
      const bindings = make("div", { className: "bindings" });
      const card = make("div", { className: "card" }, canvas, input, bindings);
      card.style.setProperty("--color", actionColor(action, keys.names.length));
      return { card, canvas, bindings, frames: frames[action] ?? [] };
    });
    byId("cards").replaceChildren(...this.cards.map(({ card }) => card));
    this.showBindings();
  }

  showBindings() {
    const { keys } = this;
    const makeButton = (properties, change) =>
      make("button", { type: "button", ...properties, onclick: () => this.change(change) });
    this.cards.forEach(({ bindings }, action) => {
      const bound = keys.combinations(action).map((combination) => {
        const label = keyLabel(combination);
        const ariaLabel = `Remove the key ${label} from action ${action}`;
        const properties = { className: "bound", textContent: label, title: `Remove ${label}`, ariaLabel };
        return makeButton(properties, () => keys.unbind(combination));
      });
      const add = makeButton(
        { className: "bind", textContent: this.waiting === action ? "Press a key" : "+ key", ariaLabel: `Bind a key to action ${action}` },
        () => {
          this.waiting = action;
          say(`Press a key for action ${action}; Escape for none.`);
        },
      );
      const idle = makeButton(
        {
          className: "bind", textContent: "+ idle", title: "What happens while no key is held",
          ariaLabel: `Action ${action} happens while no key is held`, hidden: "" in keys.bindings,
        },
        () => keys.bind("", action),
      );
      bindings.replaceChildren(...bound, add, idle);
    });
  }

  change(how) {
    how();
    const place = [...this.dialog.querySelectorAll("button")].indexOf(document.activeElement);
    this.showBindings();
    this.dialog.querySelectorAll("button")[place]?.focus();
    this.changed();
  }

  bindKey(event) {
    if (this.waiting === null) return;
    event.preventDefault();
    event.stopPropagation();
    const action = this.waiting, key = normalizeKey(event.key);
    if (["Shift", "Control", "Alt", "Meta"].includes(key)) return;
    this.waiting = null;
    const refusal = key === "Escape" ? "No key bound." : this.keys.bind(key, action);
    this.change(() => {});
    say(refusal ?? `${keyLabel(key)} is now ${this.keys.title(action)}.`);
  }
}
