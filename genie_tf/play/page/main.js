// The page: sends what is pressed to the server, and draws the frames that come back.

import { Actions } from "./actions.js";
import { Calibration } from "./calibration.js";
import { NEW, PREVIEW, connect } from "./connection.js";
import { byId, notify } from "./dom.js";
import { paint } from "./images.js";
import { listenToKeyboard } from "./keyboard.js";
import { Keys } from "./keys.js";
import { Meter } from "./meter.js";
import { showPicker } from "./picker.js";
import { Playback } from "./playback.js";
import { Recording } from "./recording.js";
import { showSettings } from "./settings.js";
import { Timeline } from "./timeline.js";

const handlers = {
  closed(reason) {
    byId("gone-reason").textContent = reason || "The server has stopped or is full.";
    byId("gone").showModal();
  },
};
byId("reconnect").onclick = () => location.reload();
const connection = connect(handlers);
const world = await new Promise((resolve) => (handlers.hello = resolve));

byId("world").textContent = world.name;
byId("stage").style.setProperty("--aspect", world.width / world.height);
const canvases = [byId("screen"), byId("glow")];
for (const canvas of canvases) Object.assign(canvas, { width: world.width, height: world.height });
const keys = new Keys(world);
const timeline = new Timeline(keys, (number) => playback.goTo(number));
const playback = new Playback(connection, timeline, world.fps);
const meter = new Meter();
const actions = new Actions(connection, keys, playback, meter);
const recording = new Recording(connection, world);
const calibration = new Calibration(world, keys, () => connection.send("calibrate"), () => actions.show());
showPicker(connection, world, playback);
showSettings(world.settings, (values) => connection.send("settings", values));

function step() {
  playback.step(actions.current ?? timeline.actions.at(-1) ?? 0);
}

function openCalibration() {
  release();
  playback.pauseUntilAction();
  calibration.open();
}

function release() {
  playback.rewind(false);
  actions.release();
}

byId("do-step").onclick = step;
byId("open-calibration").onclick = openCalibration;
addEventListener("blur", release);
listenToKeyboard(keys, actions, playback, {
  p: () => playback.togglePause(),
  ".": step,
  r: () => recording.toggle(),
  c: openCalibration,
});

let waiting = []; // Frames received but not yet drawn.

Object.assign(handlers, {
  line({ first, actions }) {
    timeline.load(first, actions);
  },
  report({ first, branches, recording: isOn, recorded }) {
    timeline.forget(first);
    playback.showBranches(branches);
    recording.show(isOn, recorded);
  },
  error({ message }) {
    playback.goingTo = null;
    notify(message);
  },
  frame(frame) {
    if (!waiting.length) requestAnimationFrame(draw);
    waiting.push(frame);
  },
});

// Draws the waiting frames. A hidden page draws nothing, so it requests no more frames.
function draw(now) {
  const frames = waiting;
  waiting = [];
  for (const frame of frames) {
    connection.send("seen");
    if (frame.kind === PREVIEW) {
      calibration.add(frame);
      continue;
    }
    if (frame.kind === NEW) {
      timeline.add(frame.number, frame.action);
      meter.countFrame(now);
    } else {
      playback.arrive(frame.number);
    }
    meter.measureDelay(frame.id);
    for (const canvas of canvases) paint(canvas, frame.pixels);
  }
  timeline.draw();
  meter.show(now);
}
