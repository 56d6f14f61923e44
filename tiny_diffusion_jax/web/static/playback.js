// The place of a player between noise (0) and data (1), which runs either way and can be set.

class Playback {
  constructor(seconds) {
    this.seconds = seconds; // from 0 to 1 at speed 1
    this.speed = 1;
    this.loop = true;
    this.time = 1;
    this.end = 1; // where it runs to: 1 in the reverse process, 0 in the forward process
    this.playing = false;
    this.hold = 0; // seconds at the end before a loop starts again
    this.listeners = [];
  }

  listen(listener) {
    this.listeners.push(listener);
  }

  tell() {
    for (const listener of this.listeners) listener(this);
  }

  seek(time) {
    this.time = Math.min(1, Math.max(0, time));
    this.hold = 0;
    this.tell();
  }

  play() {
    if (this.playing) return;
    if (this.time === this.end) this.time = 1 - this.end;
    this.playing = true;
    this.last = performance.now();
    requestAnimationFrame((now) => this.tick(now));
    this.tell();
  }

  pause() {
    this.playing = false;
    this.tell();
  }

  tick(now) {
    if (!this.playing) return;
    // The time stops while the page is hidden.
    const passed = Math.min(0.25, Math.max(0, (now - this.last) / 1000));
    this.last = now;
    this.advance(passed);
    this.tell();
    requestAnimationFrame((later) => this.tick(later));
  }

  advance(passed) {
    if (this.time !== this.end) {
      const far = (passed * this.speed) / this.seconds;
      this.time = Math.min(1, Math.max(0, this.time + (this.end ? far : -far)));
      this.hold = 0;
    } else if (!this.loop) {
      this.playing = false;
    } else if ((this.hold += passed) > 1.2) {
      this.time = 1 - this.end;
    }
  }
}
