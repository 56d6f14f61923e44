// Marks that several pages draw: arrows of a field, and pictures of a density.

const LEAST_ARROW = 0.02; // standard deviations of the noise: a shorter arrow is not drawn

// Adds an arrow by (dx, dy) about (x, y) to the path of a pen. head: its share of the length.
function arrow(pen, x, y, dx, dy, head = 0.4) {
  const [tipX, tipY] = [x + dx / 2, y + dy / 2];
  pen.moveTo(x - dx / 2, y - dy / 2);
  pen.lineTo(tipX, tipY);
  for (const turn of [2.6, -2.6]) {
    const [c, s] = [head * Math.cos(turn), head * Math.sin(turn)];
    pen.moveTo(tipX, tipY);
    pen.lineTo(tipX + c * dx - s * dy, tipY + s * dx + c * dy);
  }
}

// Adds the arrow of sigma times a score [u, v], y up, in a square of `side` pixels. The arrow is as
// long as the square if the score is two standard deviations of the noise, or more.
function scoreArrow(pen, x, y, [u, v], side) {
  const length = Math.hypot(u, v);
  if (!(length > LEAST_ARROW)) return;
  const reach = (0.85 * side * Math.min(1, length / 2)) / length;
  arrow(pen, x, y, u * reach, -v * reach);
}

// A canvas of size x size pixels, lowest y first. pick(i): [[r, g, b], opacity in 0..1] of pixel i.
function pixelCanvas(size, pick) {
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const pen = canvas.getContext("2d"), image = pen.createImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    const [colour, opacity] = pick(i), row = size - 1 - Math.floor(i / size);
    image.data.set([...colour, 255 * Math.min(1, opacity)], 4 * (row * size + (i % size)));
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}
