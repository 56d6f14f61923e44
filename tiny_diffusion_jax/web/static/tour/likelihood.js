// Chapter of the likelihood: the log density of a point, by the flow and exactly.

const HEAT = 108, LOWEST = -8; // squares a side of the density; nats that are drawn as paper
const ODE_STEPS = [4, 8, 16, 32, 64, 128], AVERAGED = 500;

class Likelihood extends Chapter {
  start() {
    this.plane = this.picture("plane", { handles: [[-1.85, 0.1]] });
    const { half } = this.plane.board, first = this.levels[1];
    const at = (i) => half * ((2 * (i + 0.5)) / HEAT - 1);
    const logs = Array.from({ length: HEAT * HEAT }, (_, i) =>
      this.law.at(at(i % HEAT), at(Math.floor(i / HEAT)), first).logDensity);
    this.most = Math.max(...logs);
    this.heat = logs.map((v) => Math.max(0, (v - LOWEST) / (this.most - LOWEST)) ** 1.5);
    this.say({ lowest: fixed(LOWEST, 0), highest: fixed(this.most, 1) });
  }

  update() {
    const { plane, law, levels } = this, [x, y] = plane.handles[0];
    const steps = this.choice("steps", ODE_STEPS);
    const exact = law.at(x, y, levels[1]).logDensity;
    const { logDensity, path } = odeLikelihood(law, [x, y], levels, steps);
    const line = [];
    for (let i = 0; i < path.length; i += 3) {
      const spread = Math.hypot(1, path[i + 2]);
      line.push(path[i] / spread, path[i + 1] / spread);
    }
    plane.show({ data: [], marks: [
      (board) => board.shade(HEAT, (i) => this.heat[i], "data"), lineMark(line, "ink", 2), dotsMark(line, "ink", 2.2),
      dotsMark(line.slice(-2), "ink", 6)] });
    const error = number(Math.abs(logDensity - exact));
    this.say({ exact: fixed(exact), ode: fixed(logDensity), error });
  }

  answer() {
    const { law, levels } = this, points = law.draw(AVERAGED, new Random(41));
    const logs = law.logDensities(points, levels[1]);
    const empty = logs.map(() => -Math.log((2 * this.plane.board.half) ** 2));
    this.say({ "mean-data": fixed(mean([...logs])), uniform: fixed(empty[0]),
               gain: fixed(mean([...logs]) - empty[0]) });
  }
}
