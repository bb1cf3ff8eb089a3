// Prompt images: those of the server, a file, or a sketch.

import { byId, make, notify } from "./dom.js";
import { fitImage, readPixels } from "./images.js";
import { makeSketch } from "./sketch.js";

export function showPicker(connection, world, playback) {
  async function start(image, isFitted = false) {
    try {
      const fit = byId("pad").checked ? "pad" : "crop";
      connection.start(await readPixels(isFitted ? image : await fitImage(image, fit)));
    } catch (error) {
      return notify(error.message);
    }
    playback.pause("");
    byId("picker").hidden = true;
    byId("game").hidden = byId("leave").hidden = false;
    byId("stage").focus();
    notify("A new world. Hold the key of an action.");
  }

  for (const name of world.prompts.toReversed()) {
    const image = make("img", { src: `prompts/${name}.png`, alt: "" });
    const button = make("button", {}, image, name);
    button.onclick = async () => start(await (await fetch(image.src)).blob(), true);
    byId("prompts").prepend(button);
  }
  const focus = () => byId("prompts").querySelector("button").focus();
  focus();

  const file = byId("file");
  byId("open-upload").onclick = () => file.click();
  file.onchange = () => file.files.length && start(file.files[0]);
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) start(event.dataTransfer.files[0]);
  });
  byId("open-sketch").onclick = makeSketch(world, start);
  byId("leave").onclick = () => {
    playback.pause("manual");
    byId("picker").hidden = false;
    byId("game").hidden = byId("leave").hidden = true;
    file.value = "";
    focus();
  };
}
