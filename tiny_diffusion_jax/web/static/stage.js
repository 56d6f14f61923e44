// One picture of one set at one time.

const TRAILS = 300; // number of points whose trail is drawn
const TRAIL = 0.22; // length of a trail, as a share of the time

class Stage {
  constructor(canvas, mostPixels) {
    this.dots = new Dots(canvas, mostPixels);
  }

  // look: {paper, colours: u8[3 N], trails, stray: [indices], alert, given, ink}, and for a picture
  // with layers {layers, shown: {points, data, arrows, density}}
  draw(process, set, time, look) {
    const { dots } = this;
    if (!dots.fit()) return;
    dots.clear(look.paper);
    const view = process.window(time, set);
    const count = process.sizes[set];
    const shown = look.layers ? look.shown : { points: true };
    const radius = Math.min(
      Math.max((0.5 * dots.size) / Math.sqrt(count) / 9, dots.size / 480, 0.95),
      dots.size / 130,
    );
    const opacity = Math.min(0.9, Math.max(0.4, 40 / Math.sqrt(count)));
    if (shown.data) this.realPoints(look.layers.player.forward, time, view, radius, opacity);
    const xy = this.pixels(process, set, time, view);
    if (shown.points) dots.draw(xy, count, look.colours, radius, opacity);
    dots.show();
    if (shown.density) look.layers.drawDensity(this, view, time);
    if (shown.arrows) look.layers.drawArrows(this, view, time);
    if (!shown.points) return;
    if (look.trails) this.trails(process, set, time, view, look);
    dots.crosses(xy, look.stray ?? [], css(look.alert), 1.2 * radius + 1.5);
    const given = Array.from({ length: look.given }, (_, n) => n);
    dots.rings(xy, given, css(look.ink), 1.3 * radius + 1.5);
  }

  // Real points with the noise of this time.
  realPoints(forward, time, view, radius, opacity) {
    const xy = this.pixels(forward, 0, time, view);
    const colour = cssColour("--data");
    const colours = Uint8Array.from({ length: 3 * forward.sizes[0] }, (_, i) => colour[i % 3]);
    this.dots.draw(xy, forward.sizes[0], colours, radius, opacity);
  }

  // x, y in pixels of every point.
  pixels(process, set, time, view) {
    const size = 2 * process.numPoints;
    if (this.xy?.length !== size) this.xy = new Float32Array(size);
    const count = process.positions(set, time, this.xy);
    const { scale, left, top } = this.toPixels(view);
    for (let n = 0; n < count; n++) {
      this.xy[2 * n] = left + scale * this.xy[2 * n];
      this.xy[2 * n + 1] = top - scale * this.xy[2 * n + 1];
    }
    return this.xy;
  }

  toPixels({ x, y, half }) {
    const scale = this.dots.size / (2 * half);
    return { scale, left: this.dots.size / 2 - scale * x, top: this.dots.size / 2 + scale * y };
  }

  // Draws the latest part of some trajectories as lines.
  trails(process, set, time, view, { colours }) {
    const { context } = this.dots;
    const times = Array.from({ length: 13 }, (_, i) => time - TRAIL * (1 - i / 12)).filter(
      (at) => at >= 0,
    );
    if (times[times.length - 1] < time) times.push(time);
    const buffer = new Float32Array(2 * process.numPoints);
    const { scale, left, top } = this.toPixels(view);
    const count = Math.min(process.sizes[set], TRAILS);
    const lines = Array.from({ length: count }, () => new Path2D());
    times.forEach((at, i) => {
      process.positions(set, at, buffer);
      for (let n = 0; n < count; n++) {
        const [x, y] = [left + scale * buffer[2 * n], top - scale * buffer[2 * n + 1]];
        if (Number.isNaN(x)) continue;
        if (i === 0) lines[n].moveTo(x, y);
        else lines[n].lineTo(x, y);
      }
    });
    context.lineWidth = Math.max(1, this.dots.size / 700);
    context.globalAlpha = 0.45;
    lines.forEach((line, n) => {
      context.strokeStyle = css(colours.subarray(3 * n, 3 * n + 3));
      context.stroke(line);
    });
    context.globalAlpha = 1;
  }
}
