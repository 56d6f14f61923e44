// The thread that trains, so that the page stays responsive.
// In:  {start: {shapes, options, seed}}, {resume: true}, {stop: true}, {rate}, {level}
//      {trajectory: {noise f32[n, 2], steps, job}}, {noise: f32[n, 2] of pictures, or null}
// Out: {run, step, losses: [[step, loss], ...], samples f32[n, 2], field f32[ARROWS_PER_SIDE^2, 2],
//      state: "running", "stopped" or "done"}, or {trajectory: [f32[n, 2], ...], job}

const PERIOD = 100; // ms between pictures
const SHARE = 3; // training takes this many times as long as pictures, or more
const LIVE = { points: 400, steps: 10 }, LAST = { points: 1600, steps: 25 }; // samples of a picture
const PER_LOSS = 10; // steps whose mean loss is one number of the curve

if (typeof WorkerGlobalScope !== "undefined") {
  let trainer, run = 0, isRunning = false, level = 1, noise = null;
  let sum = 0, losses = [];

  const start = ({ shapes, options, seed }) => {
    trainer = new Trainer(shapes, options, { ...makeHeap(), seed });
    [sum, losses] = [0, []];
  };

  const step = () => {
    sum += trainer.step();
    const { step: count } = trainer.optimizer;
    if (count % PER_LOSS) return;
    losses.push([count, sum / PER_LOSS]);
    sum = 0;
  };

  const post = (state) => {
    const { points, steps } = state === "running" ? LIVE : LAST;
    postMessage({
      run, state, step: trainer.optimizer.step, losses,
      samples: trainer.sample(noise ?? new Random(1).normals(DIM * points), steps),
      field: trainer.field(gridPlaces(), level),
    });
    losses = [];
  };

  const train = async () => {
    const mine = ++run;
    isRunning = true;
    let posted = performance.now(), cost = 0;
    while (isRunning && !trainer.optimizer.isDone) {
      const pause = performance.now() + 20; // then messages are read
      while (performance.now() < pause && !trainer.optimizer.isDone) step();
      const now = performance.now();
      if (now - posted >= Math.max(PERIOD, (SHARE + 1) * cost)) {
        post("running");
        posted = now;
        cost = performance.now() - now;
      }
      await nextMessage();
      if (mine !== run) return; // another run has begun
    }
    isRunning = false;
    post(trainer.optimizer.isDone ? "done" : "stopped");
  };

  // Wait for messages; a timer would wait 4 ms.
  const channel = new MessageChannel();
  const nextMessage = () => new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });

  onmessage = ({ data }) => {
    if (data.noise !== undefined) noise = data.noise;
    if (data.start) start(data.start);
    if (data.resume && trainer.optimizer.isDone) trainer.optimizer.again();
    if (data.start || data.resume) train();
    if (data.stop) isRunning = false;
    if (data.rate) trainer.options.learning_rate = data.rate;
    if (data.trajectory) {
      const { noise: normals, steps, job } = data.trajectory;
      postMessage({ trajectory: trainer.trajectory(normals, steps), job });
    }
    if (data.level) {
      level = data.level;
      if (trainer && !isRunning) postMessage({ run, field: trainer.field(gridPlaces(), level) });
    }
  };
}
