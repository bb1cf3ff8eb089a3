// Names and keys of the actions.

const WORDS = {
  left: "ArrowLeft", right: "ArrowRight", up: "ArrowUp", jump: "ArrowUp", down: "ArrowDown",
  duck: "ArrowDown", fire: " ", none: "", noop: "", stay: "", idle: "", wait: "", nothing: "",
};
const DEFAULTS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", " "];
const LABELS = { ArrowLeft: "\u2190", ArrowRight: "\u2192", ArrowUp: "\u2191", ArrowDown: "\u2193", " ": "Space", "": "idle" };
// Keys that the page itself uses.
const RESERVED = ["Tab", "Escape", "Enter", "Backspace", ".", "p", "r", "c"];

export const normalizeKey = (key) => (key.length === 1 ? key.toLowerCase() : key);
export const keyLabel = (combination) =>
  LABELS[combination] ?? combination.split(/(?<=.)\+/).map((key) => LABELS[key] ?? key.toUpperCase()).join(" ");

export class Keys {
  // A combination is one key, or several joined by "+"; "" means that no key is held.
  constructor(world) {
    this.world = world;
    this.storageKey = `genie-play ${world.name} ${world.num_actions}`;
    this.pressed = [];
    try {
      const { names, bindings } = JSON.parse(localStorage.getItem(this.storageKey));
      Object.assign(this, { names, bindings });
    } catch {
      this.reset();
    }
  }

  reset() {
    const { num_actions, action_names, keys } = this.world;
    this.names = Array.from({ length: num_actions }, (_, action) => action_names[action] ?? "");
    this.bindings = Object.keys(keys).length ? { ...keys } : this.guessBindings();
    for (let action = 0; action < Math.min(num_actions, 10); action++) {
      this.bindings[`${action}`] ??= action;
    }
    localStorage.removeItem(this.storageKey);
  }

  guessBindings() {
    const bindings = {};
    this.names.forEach((name, action) => {
      const keys = name ? name.toLowerCase().split(/[+_ -]+/).map((word) => WORDS[word]) : [DEFAULTS[action]];
      if (keys.every((key) => key !== undefined)) bindings[keys.sort().join("+")] ??= action;
    });
    return bindings;
  }

  rename(action, name) {
    this.names[action] = name;
    this.save();
  }

  // Returns an error message if the key cannot be bound.
  bind(key, action) {
    if (RESERVED.includes(key)) return `${keyLabel(key)} is already used; choose another key.`;
    this.bindings[key] = action;
    this.save();
  }

  unbind(combination) {
    delete this.bindings[combination];
    this.save();
  }

  save() {
    const { names, bindings } = this;
    localStorage.setItem(this.storageKey, JSON.stringify({ names, bindings }));
  }

  combinations(action) {
    return Object.keys(this.bindings).filter((keys) => this.bindings[keys] === action);
  }

  title(action) {
    return this.names[action] || `Action ${action}`;
  }

  isBound(key) {
    return Object.keys(this.bindings).some((keys) => splitKeys(keys).includes(key));
  }

  press(key) {
    this.pressed = [key, ...this.pressed.filter((other) => other !== key)];
  }

  release(key) {
    this.pressed = this.pressed.filter((other) => other !== key);
  }

  // Action of the pressed keys: the largest combination wins, then the newest.
  get action() {
    const down = Object.keys(this.bindings).filter((keys) => splitKeys(keys).every((key) => this.pressed.includes(key)));
    const age = (keys) => Math.min(...splitKeys(keys).map((key) => this.pressed.indexOf(key)));
    down.sort((a, b) => splitKeys(b).length - splitKeys(a).length || age(a) - age(b));
    return down.length ? this.bindings[down[0]] : null;
  }
}

const splitKeys = (keys) => (keys === "" ? [] : keys === "+" ? ["+"] : keys.split("+"));
