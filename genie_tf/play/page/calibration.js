// Previews of all actions, side by side, with their names and keys.

import { byId, make, notify } from "./dom.js";
import { paint } from "./images.js";
import { keyLabel, normalizeKey } from "./keys.js";
import { actionColor } from "./timeline.js";

const PERIOD = 120; // Milliseconds per frame of a preview.

export class Calibration {
  // `requestPreviews` leads to calls of `add`; `onChange` is called after names or keys change.
  constructor(world, keys, requestPreviews, onChange) {
    Object.assign(this, { world, keys, requestPreviews, onChange, cards: [] });
    this.dialog = byId("calibration");
    byId("replay").onclick = () => this.begin();
    byId("reset").onclick = () => {
      keys.reset();
      this.build();
      onChange();
    };
    // Keep Escape and keys being bound from the page.
    this.dialog.addEventListener("keydown", (event) => this.bindKey(event), true);
    this.dialog.addEventListener("close", () => clearInterval(this.timer));
  }

  open() {
    this.build();
    this.dialog.showModal();
    this.begin();
    let tick = 0;
    this.timer = setInterval(() => {
      tick += 1;
      for (const { canvas, frames } of this.cards) {
        // Hold the last frame for a while.
        if (frames.length) paint(canvas, frames[Math.min(tick % (frames.length + 4), frames.length - 1)]);
      }
    }, PERIOD);
  }

  begin() {
    for (const card of this.cards) card.frames = [];
    this.requestPreviews();
  }

  add({ action, pixels }) {
    this.cards[action]?.frames.push(pixels);
  }

  build() {
    const { keys, world: { width, height } } = this;
    const frames = this.cards.map((card) => card.frames);
    this.waiting = null; // The action that waits for a key.
    this.cards = keys.names.map((name, action) => {
      const canvas = make("canvas", { width, height, role: "img", ariaLabel: `Preview of action ${action}` });
      const input = make("input", { value: name, placeholder: `Action ${action}`, maxLength: 24, ariaLabel: `Name of action ${action}` });
      input.oninput = () => {
        keys.rename(action, input.value.trim());
        this.onChange();
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
          notify(`Press a key for action ${action}, or Escape to cancel.`);
        },
      );
      const idle = makeButton(
        {
          className: "bind", textContent: "+ idle", title: "Use while no key is held",
          ariaLabel: `Use action ${action} while no key is held`, hidden: "" in keys.bindings,
        },
        () => keys.bind("", action),
      );
      bindings.replaceChildren(...bound, add, idle);
    });
  }

  change(edit) {
    edit();
    const index = [...this.dialog.querySelectorAll("button")].indexOf(document.activeElement);
    this.showBindings();
    this.dialog.querySelectorAll("button")[index]?.focus();
    this.onChange();
  }

  bindKey(event) {
    if (this.waiting === null) return;
    event.preventDefault();
    event.stopPropagation();
    const action = this.waiting, key = normalizeKey(event.key);
    if (["Shift", "Control", "Alt", "Meta"].includes(key)) return;
    this.waiting = null;
    const problem = key === "Escape" ? "No key bound." : this.keys.bind(key, action);
    this.change(() => {});
    notify(problem ?? `${keyLabel(key)} is now ${this.keys.title(action)}.`);
  }
}
