// Keys of the page, except in fields and dialogs, and the space bar on a button.

import { byId } from "./dom.js";
import { normalizeKey } from "./keys.js";

// `shortcuts` has a function for each key that is not bound to an action.
export function listenToKeyboard(keys, actions, playback, shortcuts) {
  addEventListener("keydown", (event) => {
    const key = normalizeKey(event.key);
    if (isElsewhere(event)) return;
    if (key === "Backspace") {
      event.preventDefault();
      if (!event.repeat) playback.rewind(true);
    } else if (keys.isBound(key)) {
      event.preventDefault();
      if (event.repeat) return;
      keys.press(key);
      actions.update(true);
    } else if (shortcuts[key] && !event.repeat) {
      event.preventDefault();
      shortcuts[key]();
    }
  });

  addEventListener("keyup", (event) => {
    const key = normalizeKey(event.key);
    if (key === "Backspace") playback.rewind(false);
    if (!keys.pressed.includes(key)) return;
    keys.release(key);
    actions.update();
  });
}

function isElsewhere(event) {
  const { target, key } = event;
  if (byId("game").hidden || document.querySelector("dialog[open]")) return true;
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  if (target.matches("input, select, [role=slider]")) return true;
  return key === " " && target.matches("button, a, summary");
}
