// Drawing of prompt images: a canvas, a brush and some colors.

import { byId, make } from "./dom.js";

const COLORS = [
  ["sky", "#7ec8f2"], ["night", "#141026"], ["stone", "#a9bcc0"], ["earth", "#c58a52"], ["grass", "#5fae3d"],
  ["lava", "#f2702a"], ["gold", "#ffd23f"], ["wood", "#8a5a2b"], ["white", "#ffffff"], ["black", "#000000"],
];
const SIDE = 512;

export function makeSketch(world, use) {
  const dialog = byId("sketch"), paper = byId("paper");
  const context = paper.getContext("2d", { willReadFrequently: true });
  paper.width = SIDE;
  paper.height = Math.round((SIDE * world.height) / world.width);
  let [, ink] = COLORS[3];
  const history = [];
  const saveForUndo = () => {
    history.push(context.getImageData(0, 0, paper.width, paper.height));
    if (history.length > 20) history.shift();
  };
  const fill = (color) => {
    context.fillStyle = color;
    context.fillRect(0, 0, paper.width, paper.height);
  };
  fill(COLORS[0][1]);

  const line = (event) => {
    const { left, top, width } = paper.getBoundingClientRect(), scale = paper.width / width;
    context.lineTo((event.clientX - left) * scale, (event.clientY - top) * scale);
    context.stroke();
  };
  paper.addEventListener("pointerdown", (event) => {
    paper.setPointerCapture(event.pointerId);
    saveForUndo();
    context.strokeStyle = ink;
    context.lineWidth = byId("brush").value;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    line(event);
    line(event);
  });
  paper.addEventListener("pointermove", (event) => event.buttons && line(event));

  for (const [name, color] of COLORS) {
    const checked = color === ink, onchange = () => (ink = color);
    const input = make("input", { type: "radio", name: "ink", ariaLabel: name, checked, onchange });
    const label = make("label", { title: name }, input);
    label.style.setProperty("--color", color);
    byId("palette").append(label);
  }
  byId("fill").onclick = () => {
    saveForUndo();
    fill(ink);
  };
  byId("undo").onclick = () => history.length && context.putImageData(history.pop(), 0, 0);
  byId("use-sketch").onclick = () => {
    dialog.close();
    paper.toBlob(use, "image/png");
  };
  return () => dialog.showModal();
}
