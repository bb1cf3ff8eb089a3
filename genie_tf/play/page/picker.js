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
    show();
  }

  function show() {
    playback.pause("");
    byId("picker").hidden = true;
    byId("game").hidden = byId("leave").hidden = false;
    byId("stage").focus();
    notify("A new world. Hold the key of an action.");
  }

  function offer(file, title, begin) {
    const image = make("img", { src: `prompts/${file}.png`, alt: "" });
    const button = make("button", {}, image, title);
    button.onclick = () => begin(image.src);
    byId("prompts").prepend(button);
  }
  for (const name of world.prompts.toReversed())
    offer(name, name, async (address) => start(await (await fetch(address)).blob(), true));
  if (world.has_prompt)
    offer("own", "your prompt", () => {
      connection.send("start_prompt");
      show();
    });
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
