// Conversion between images and pixels.

// Paints a frame, three bytes per pixel, on a canvas of the same size.
export function paint(canvas, pixels) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    image.data[to] = pixels[from];
    image.data[to + 1] = pixels[from + 1];
    image.data[to + 2] = pixels[from + 2];
    image.data[to + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// Returns the pixels of an image, three bytes each.
export async function readPixels(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  return data.filter((_, index) => index % 4 !== 3);
}

// Has the server fit any image to the size of a frame: `fit` is "crop" or "pad".
export async function fitImage(image, fit) {
  const response = await fetch(`picture?fit=${fit}`, { method: "POST", body: image });
  if (!response.ok) throw new Error((await response.json()).message);
  return response.blob();
}
