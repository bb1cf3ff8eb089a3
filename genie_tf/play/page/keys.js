// Names of actions, and which keys stand for them.

const WORDS = {
  left: "ArrowLeft", right: "ArrowRight", up: "ArrowUp", jump: "ArrowUp", down: "ArrowDown",
  duck: "ArrowDown", fire: " ", none: "", noop: "", stay: "", idle: "", wait: "", nothing: "",
};
const GIVEN = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", " "];
const CAPS = { ArrowLeft: "\u2190", ArrowRight: "\u2192", ArrowUp: "\u2191", ArrowDown: "\u2193", " ": "Space", "": "idle" };
// Keys that the page itself has a use for.
const TAKEN = ["Tab", "Escape", "Enter", "Backspace", ".", "p", "r", "c"];

export const normal = (key) => (key.length === 1 ? key.toLowerCase() : key);
export const cap = (combination) =>
  CAPS[combination] ?? combination.split(/(?<=.)\+/).map((key) => CAPS[key] ?? key.toUpperCase()).join(" ");

export class Keys {
  // A combination is a key or several joined by "+"; "" stands for no key at all.
  constructor(world) {
    this.world = world;
    this.store = `genie-play ${world.name} ${world.num_actions}`;
    this.held = [];
    try {
      const { names, bindings } = JSON.parse(localStorage.getItem(this.store));
      Object.assign(this, { names, bindings });
    } catch {
      this.reset();
    }
  }

  reset() {
    const { num_actions, action_names, keys } = this.world;
    this.names = Array.from({ length: num_actions }, (_, action) => action_names[action] ?? "");
    this.bindings = Object.keys(keys).length ? { ...keys } : this.guessed();
    for (let action = 0; action < Math.min(num_actions, 10); action++) {
      this.bindings[`${action}`] ??= action;
    }
    localStorage.removeItem(this.store);
  }

  guessed() {
    const bindings = {};
    this.names.forEach((name, action) => {
      const keys = name ? name.toLowerCase().split(/[+_ -]+/).map((word) => WORDS[word]) : [GIVEN[action]];
      if (keys.every((key) => key !== undefined)) bindings[keys.sort().join("+")] ??= action;
    });
    return bindings;
  }

  name(action, name) {
    this.names[action] = name;
    this.save();
  }

  // Returns why not, if the key cannot be bound.
  bind(key, action) {
    if (TAKEN.includes(key)) return `${cap(key)} has another use; choose another key.`;
    this.bindings[key] = action;
    this.save();
  }

  unbind(combination) {
    delete this.bindings[combination];
    this.save();
  }

  save() {
    const { names, bindings } = this;
    localStorage.setItem(this.store, JSON.stringify({ names, bindings }));
  }

  of(action) {
    return Object.keys(this.bindings).filter((keys) => this.bindings[keys] === action);
  }

  title(action) {
    return this.names[action] || `Action ${action}`;
  }

  isBound(key) {
    return Object.keys(this.bindings).some((keys) => parts(keys).includes(key));
  }

  press(key) {
    this.held = [key, ...this.held.filter((other) => other !== key)];
  }

  release(key) {
    this.held = this.held.filter((other) => other !== key);
  }

  // What the keys held stand for: the largest combination, of several the newest one.
  get action() {
    const down = Object.keys(this.bindings).filter((keys) => parts(keys).every((key) => this.held.includes(key)));
    const age = (keys) => Math.min(...parts(keys).map((key) => this.held.indexOf(key)));
    down.sort((a, b) => parts(b).length - parts(a).length || age(a) - age(b));
    return down.length ? this.bindings[down[0]] : null;
  }
}

const parts = (keys) => (keys === "" ? [] : keys === "+" ? ["+"] : keys.split("+"));
