// The page: what is pressed goes to the server, and frames come back.

import { Calibration } from "./calibration.js";
import { NEW, PREVIEW, connect } from "./connection.js";
import { Keys, cap, normal } from "./keys.js";
import { fitted, paint, pixelsOf } from "./pictures.js";
import { makeSketch } from "./sketch.js";
import { Strip, colour } from "./strip.js";

const by = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const icon = (name) => {
  const template = document.createElement("template");
  template.innerHTML = `<svg aria-hidden="true"><use href="#${name}"/></svg>`;
  return template.content.firstChild;
};

let world, keys, strip, calibration;
let goingTo = null; // The moment asked for, until it is shown.
let paused = ""; // "by hand", or "going back", which the next action ends.
let pointed = null; // The action of a button that is held down.
let sent = null, id = 0; // What the server last heard of the keys.
let pressedAt = new Map(); // When, by number of message.
let drawn = []; // When frames of the last second were drawn.
let delay = null; // From key to picture, in milliseconds.
let waiting = []; // Frames that came since the last one was drawn.
let rewinding = null;

// What the server says.

const connection = connect({
  hello(message) {
    world = message;
    keys = new Keys(world);
    strip = new Strip(by("strip"), keys, (number) => goBack(number));
    calibration = new Calibration(world, keys, { look: () => connection.say("calibrate"), changed: showActions, say });
    by("world").textContent = world.name;
    for (const canvas of [by("screen"), by("glow")]) {
      canvas.width = world.width;
      canvas.height = world.height;
    }
    by("stage").style.setProperty("--aspect", world.width / world.height);
    showPrompts();
    showActions();
    showSettings();
    by("open-sketch").onclick = makeSketch(world, startFrom);
  },
  line({ first, actions }) {
    strip.load(first, actions);
  },
  report({ first, branches, recording, recorded }) {
    strip.forget(first);
    showBranches(branches);
    showRecording(recording, recorded);
  },
  error({ message }) {
    goingTo = null;
    say(message);
  },
  frame(frame) {
    if (!waiting.length) requestAnimationFrame(show);
    waiting.push(frame);
  },
  closed(reason) {
    by("gone-reason").textContent = reason || "The server is not there any more, or full.";
    by("gone").showModal();
  },
});

// Draws what came since the last time; a page that nobody sees draws nothing, and so
// asks for nothing.
function show(now) {
  const frames = waiting;
  waiting = [];
  for (const frame of frames) {
    connection.say("seen");
    if (frame.kind === PREVIEW) {
      calibration.add(frame);
      continue;
    }
    if (frame.kind === NEW) {
      strip.add(frame.number, frame.action);
      drawn.push(now);
    } else {
      strip.number = frame.number;
      if (frame.number === goingTo) goingTo = null;
    }
    if (pressedAt.has(frame.id)) {
      // Which benchmarks read.
      const times = { start: pressedAt.get(frame.id), end: performance.now() };
      const { duration } = performance.measure("key to picture", times);
      delay = delay === null ? duration : 0.8 * delay + 0.2 * duration;
      pressedAt = new Map([...pressedAt].filter(([key]) => key > frame.id));
    }
    paint(by("screen"), frame.pixels);
    paint(by("glow"), frame.pixels);
  }
  strip.draw();
  showMeter(now);
}

function showMeter(now = performance.now()) {
  drawn = drawn.filter((time) => time > now - 1000);
  const parts = [`${drawn.length} fps`];
  if (delay !== null) parts.push(`${Math.round(delay)} ms`);
  by("meter").textContent = by("game").hidden ? "" : parts.join(" · ");
}
setInterval(showMeter, 500);

function say(sentence) {
  by("said").textContent = sentence;
  by("said").classList.remove("fresh");
  requestAnimationFrame(() => by("said").classList.add("fresh"));
}

// Pictures to start from.

function showPrompts() {
  for (const name of world.prompts.toReversed()) {
    const image = make("img", { src: `prompts/${name}.png`, alt: "" });
    const button = make("button", {}, image, name);
    button.onclick = async () => startFrom(await (await fetch(image.src)).blob(), true);
    by("prompts").prepend(button);
  }
  by("prompts").querySelector("button").focus();
}

async function startFrom(picture, fits = false) {
  try {
    const fit = by("pad").checked ? "pad" : "crop";
    connection.start(await pixelsOf(fits ? picture : await fitted(picture, fit)));
  } catch (error) {
    return say(error.message);
  }
  setPaused("");
  by("picker").hidden = true;
  by("game").hidden = by("leave").hidden = false;
  by("stage").focus();
  say("A new world. Hold the key of an action.");
}

by("open-upload").onclick = () => by("file").click();
by("file").onchange = () => by("file").files.length && startFrom(by("file").files[0]);
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) startFrom(event.dataTransfer.files[0]);
});
by("leave").onclick = () => {
  setPaused("by hand");
  by("picker").hidden = false;
  by("game").hidden = by("leave").hidden = true;
  by("file").value = "";
  by("prompts").querySelector("button").focus();
};

// Actions.

function showActions() {
  by("actions").replaceChildren(...keys.names.map((name, action) => {
    const caps = keys.of(action).map((combination) => make("kbd", { textContent: cap(combination) }));
    const button = make("button", { className: "action" }, make("b", { textContent: keys.title(action) }), make("span", {}, ...caps));
    button.style.setProperty("--colour", colour(action, keys.names.length));
    button.onpointerdown = (event) => {
      event.preventDefault(); // The keyboard stays where it is.
      button.setPointerCapture(event.pointerId);
      pointed = action;
      act(true);
    };
    button.onpointerup = button.onpointercancel = () => {
      pointed = null;
      act();
    };
    // Enter and the space bar, on a button.
    button.onclick = ({ detail }) => detail || connection.say("step", { action });
    return button;
  }));
  act();
}

// Tells the server what is held now, if it is something else, or pressed anew.
function act(isPressed = false) {
  const action = pointed ?? keys.action;
  [...by("actions").children].forEach((button, place) => button.classList.toggle("held", place === action));
  if (isPressed && action !== null && paused === "by hand") return connection.say("step", { action });
  if (isPressed && paused === "going back") setPaused("");
  if (action === sent && !isPressed) return;
  sent = action;
  id += 1;
  if (isPressed) pressedAt.set(id, performance.now());
  connection.say("act", { action, id });
}

function setPaused(why) {
  paused = why;
  const isPaused = paused === "by hand";
  connection.say("pause", { on: Boolean(paused) });
  by("do-pause").replaceChildren(icon(isPaused ? "go" : "pause"), make("span", { textContent: isPaused ? "Go on" : "Pause" }));
  by("do-pause").setAttribute("aria-pressed", isPaused);
  by("badge").hidden = !isPaused;
  by("badge").textContent = "paused";
}

function step() {
  if (!paused) setPaused("by hand");
  connection.say("step", { action: pointed ?? keys.action ?? strip.actions.at(-1) ?? 0 });
}

function goBack(number) {
  if (goingTo !== null || number === strip.number) return;
  if (!paused) setPaused("going back");
  goingTo = number;
  connection.say("go_to", { number });
}

function rewind(isOn) {
  clearInterval(rewinding);
  rewinding = isOn ? setInterval(() => goBack(strip.clamp(strip.number - 1)), 1000 / world.fps) : null;
  if (isOn) goBack(strip.clamp(strip.number - 1));
}

by("do-pause").onclick = () => setPaused(paused === "by hand" ? "" : "by hand");
by("do-step").onclick = step;
by("do-record").onclick = () => connection.say("record", { on: !by("do-record").classList.contains("on") });
by("do-rewind").onpointerdown = () => rewind(true);
by("do-rewind").onpointerup = by("do-rewind").onpointerleave = () => rewind(false);
by("do-rewind").onclick = ({ detail }) => detail || goBack(strip.clamp(strip.number - 1));
by("open-calibration").onclick = () => openCalibration();

function openCalibration() {
  release();
  if (!paused) setPaused("going back");
  calibration.open();
}

function showBranches(branches) {
  by("branches").replaceChildren(...branches.map(({ id, last }) => {
    const button = make("button", { title: "Go to the end of what you have left" }, icon("branch"), `Line ${id + 1}: ${last} moments`);
    button.onclick = () => {
      setPaused("going back");
      connection.say("branch", { id });
    };
    return button;
  }));
}

function showRecording(isOn, isThere) {
  const button = by("do-record");
  button.classList.toggle("on", isOn);
  button.setAttribute("aria-pressed", isOn);
  button.querySelector("span").textContent = isOn ? "Stop" : "Record";
  by("downloads").replaceChildren(...(isOn || !isThere ? [] : world.recordings.map((form) =>
    make("a", { href: `recordings/${world.id}.${form}`, download: `world.${form}` }, icon("download"), form.toUpperCase()))));
}

// Settings.

function showSettings() {
  by("settings").replaceChildren(...world.settings.map((setting) => {
    const { name, label, value, choices, least, most, step } = setting;
    const control = choices.length
      ? make("select", { id: name }, ...choices.map((choice) => make("option", { textContent: choice })))
      : make("input", { id: name, type: "range", min: least, max: most, step });
    const output = make("output", { textContent: choices.length ? "" : value });
    control.value = value;
    control[choices.length ? "onchange" : "oninput"] = () => {
      setting.value = choices.length ? control.value : Number(control.value);
      if (!choices.length) output.textContent = control.value;
      connection.say("settings", Object.fromEntries(world.settings.map(({ name, value }) => [name, value])));
    };
    return make("label", { htmlFor: name }, `${label[0].toUpperCase()}${label.slice(1)} `, output, " ", control);
  }));
}

// Keys. Those of a field or a dialog are its own, and the space bar on a button, too.

const SHORTCUTS = {
  p: () => by("do-pause").click(),
  ".": step,
  r: () => by("do-record").click(),
  c: () => openCalibration(),
};

function isElsewhere(event) {
  const { target, key } = event;
  if (by("game").hidden || document.querySelector("dialog[open]")) return true;
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  if (target.matches("input, select, [role=slider]")) return true;
  return key === " " && target.matches("button, a, summary");
}

addEventListener("keydown", (event) => {
  const key = normal(event.key);
  if (isElsewhere(event)) return;
  if (key === "Backspace") {
    event.preventDefault();
    if (!event.repeat) rewind(true);
  } else if (keys.isBound(key)) {
    event.preventDefault();
    if (event.repeat) return;
    keys.press(key);
    act(true);
  } else if (SHORTCUTS[key] && !event.repeat) {
    event.preventDefault();
    SHORTCUTS[key]();
  }
});

addEventListener("keyup", (event) => {
  const key = normal(event.key);
  if (key === "Backspace") rewind(false);
  if (!keys?.held.includes(key)) return;
  keys.release(key);
  act();
});

function release() {
  rewind(false);
  pointed = null;
  if (!keys) return;
  keys.held = [];
  act();
}
addEventListener("blur", release);
by("reconnect").onclick = () => location.reload();
