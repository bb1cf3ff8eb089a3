// Paper, a brush and some colours.

const COLOURS = [
  ["sky", "#7ec8f2"], ["night", "#141026"], ["stone", "#a9bcc0"], ["earth", "#c58a52"], ["grass", "#5fae3d"],
  ["lava", "#f2702a"], ["gold", "#ffd23f"], ["wood", "#8a5a2b"], ["white", "#ffffff"], ["black", "#000000"],
];
const SIDE = 512;

export function makeSketch(world, use) {
  const dialog = document.getElementById("sketch"), paper = document.getElementById("paper");
  const context = paper.getContext("2d", { willReadFrequently: true });
  paper.width = SIDE;
  paper.height = Math.round((SIDE * world.height) / world.width);
  let [, ink] = COLOURS[3];
  const before = [];
  const keep = () => {
    before.push(context.getImageData(0, 0, paper.width, paper.height));
    if (before.length > 20) before.shift();
  };
  const fill = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, paper.width, paper.height);
  };
  fill(COLOURS[0][1]);

  const line = (event) => {
    const { left, top, width } = paper.getBoundingClientRect(), scale = paper.width / width;
    context.lineTo((event.clientX - left) * scale, (event.clientY - top) * scale);
    context.stroke();
  };
  paper.addEventListener("pointerdown", (event) => {
    paper.setPointerCapture(event.pointerId);
    keep();
    context.strokeStyle = ink;
    context.lineWidth = document.getElementById("brush").value;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    line(event);
    line(event);
  });
  paper.addEventListener("pointermove", (event) => event.buttons && line(event));

  const palette = document.getElementById("palette");
  for (const [name, colour] of COLOURS) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "ink", checked: colour === ink });
    input.setAttribute("aria-label", name);
    input.onchange = () => (ink = colour);
    label.style.setProperty("--colour", colour);
    label.title = name;
    label.append(input);
    palette.append(label);
  }
  document.getElementById("fill").onclick = () => {
    keep();
    fill(ink);
  };
  document.getElementById("undo").onclick = () => before.length && context.putImageData(before.pop(), 0, 0);
  document.getElementById("use-sketch").onclick = () => {
    dialog.close();
    paper.toBlob(use, "image/png");
  };
  return () => dialog.showModal();
}
