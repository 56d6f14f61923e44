// The optimizer of training/step.py: gradient clipping, AdamW, warm-up, cosine decay, EMA weights.

const BETA1 = 0.9, BETA2 = 0.999, EPSILON = 1e-8; // the values of optax.adamw

// Linear from 0 to `peak` in the warm-up, then a cosine to 0 at `steps` (training/step.py).
function learningRate(step, { learning_rate: peak, warmup: most, steps }) {
  const warmup = Math.min(most, Math.floor(steps / 10));
  if (step < warmup) return (peak * step) / warmup;
  const share = Math.min((step - warmup) / (steps - warmup), 1);
  return (peak * (1 + Math.cos(Math.PI * share))) / 2;
}

class Optimizer {
  // options: those of config.train.
  constructor(network, options) {
    const { heap } = network;
    Object.assign(this, { options, step: 0, origin: 0 });
    this.parameters = makeParameters(network.options, heap);
    this.ema = makeParameters(network.options, heap);
    const size = this.parameters.flat.length;
    this.mean = heap.floats(size);
    this.square = heap.floats(size);
    this.decays = heap.floats(size); // 1 for kernels, which have weight decay; 0 for biases
    const { flat, layers } = this.parameters;
    for (const { kernel } of Object.values(layers)) {
      const first = (kernel.byteOffset - flat.byteOffset) / kernel.BYTES_PER_ELEMENT;
      this.decays.fill(1, first, first + kernel.length);
    }
  }

  // Start from these parameters: the EMA weights start equal to the weights.
  begin() {
    this.ema.flat.set(this.parameters.flat);
  }

  // Begin the learning rate's schedule again, and keep weights and moments.
  again() {
    this.origin = this.step;
  }

  get isDone() {
    return this.step - this.origin >= this.options.steps;
  }

  update({ flat: gradient }) {
    const { parameters, ema, mean, square, decays, options } = this, p = parameters.flat;
    const rate = learningRate(this.step - this.origin, options);
    let norm = 0;
    for (let i = 0; i < gradient.length; i++) norm += gradient[i] * gradient[i];
    norm = Math.sqrt(norm);
    const clip = norm < options.clip_norm ? 1 : options.clip_norm / norm;
    const kept = Math.min(options.ema_decay, (1 + this.step) / (10 + this.step));
    this.step += 1;
    const c1 = 1 / (1 - BETA1 ** this.step), c2 = 1 / (1 - BETA2 ** this.step);
    for (let i = 0; i < p.length; i++) {
      const g = clip * gradient[i];
      mean[i] = BETA1 * mean[i] + (1 - BETA1) * g;
      square[i] = BETA2 * square[i] + (1 - BETA2) * g * g;
      const direction = (mean[i] * c1) / (Math.sqrt(square[i] * c2) + EPSILON);
      p[i] -= rate * (direction + options.weight_decay * decays[i] * p[i]);
      ema.flat[i] = kept * ema.flat[i] + (1 - kept) * p[i];
    }
    return norm;
  }
}
