// The gradient of the loss in the parameters of `TrainableMLP`, by the chain rule.

class Gradient {
  constructor(network, rows, sets) {
    const { heap, options, features } = network, width = options.hidden_dim;
    this.network = network;
    this.work = network.workspace(rows, sets);
    this.gradient = makeParameters(options, heap);
    this.dH = heap.floats(rows * width);
    this.dZ = heap.floats(rows * width);
    this.dWaves = heap.floats(rows * features);
    this.dGate = heap.floats(sets * features);
    this.turned = heap.floats(Math.max(width, features) * width);
    this.dOutput = heap.floats(rows * DIM);
  }

  // Mean of |F - target|^2 / D over points, as in diffusion/process.py: loss_per_set with the
  // weighting "simple". Leaves its gradient in this.gradient, and the output in this.work.
  loss(parameters, x, time, target) {
    const { network, work, dOutput } = this;
    const output = network.forward(parameters, x, time, work), count = output.length;
    let total = 0;
    for (let i = 0; i < count; i++) {
      const error = output[i] - target[i];
      total += error * error;
      dOutput[i] = (2 * error) / count;
    }
    this.backward(parameters);
    return total / count;
  }

  backward({ layers }) {
    const { network, work, gradient, dH, dZ, turned, dOutput } = this;
    const { hidden_dim: width, num_blocks: blocks } = network.options;
    const { rows } = work, multiply = network.product;
    const to = gradient.layers;
    gradient.flat.fill(0);
    multiply(work.h[blocks], 1, width, dOutput, to.to_output.kernel, width, rows, DIM);
    addRows(dOutput, to.to_output.bias);
    dH.fill(0);
    transpose(layers.to_output.kernel, turned, width, DIM);
    multiply(dOutput, DIM, 1, turned, dH, rows, DIM, width);
    for (let i = blocks; i >= 0; i--) {
      const layer = i ? `blocks_${i - 1}` : "from_features";
      const { rows: inputs, kernel } = layers[layer];
      const from = i ? work.h[i - 1] : work.input;
      geluGradient(work.z[i], work.s[i], dH, dZ);
      multiply(from, 1, inputs, dZ, to[layer].kernel, inputs, rows, width);
      addRows(dZ, to[layer].bias);
      if (!i) break;
      transpose(kernel, turned, width, width);
      multiply(dZ, width, 1, turned, dH, rows, width, width);
    }
    this.fade(layers.from_features.kernel, to.fade);
  }

  // Through the gates: the first `features` inputs of the first layer are gate x wave.
  fade(kernel, to) {
    const { network, work, dZ, dWaves, dGate, turned } = this;
    const { features, inputs, product: multiply } = network, width = network.options.hidden_dim;
    const { rows, sets, waves, gate, timeWaves } = work, timed = inputs - features;
    transpose(kernel.subarray(0, features * width), turned, features, width);
    dWaves.fill(0);
    multiply(dZ, width, 1, turned, dWaves, rows, width, features);
    dGate.fill(0);
    for (let r = 0; r < rows; r++) {
      const at = r * features, b = Math.floor((r * sets) / rows) * features;
      for (let i = 0; i < features; i++) dGate[b + i] += dWaves[at + i] * waves[at + i];
    }
    for (let i = 0; i < dGate.length; i++) dGate[i] *= gate[i] * (1 - gate[i] / 2);
    multiply(timeWaves, 1, timed, dGate, to.kernel, timed, sets, features);
    addRows(dGate, to.bias);
  }
}

// dZ = dH (s + z s (1 - s) u'), with s = sigmoid(u) and u' = 2 sqrt(2 / pi) (1 + 3 0.044715 z^2).
function geluGradient(z, s, dH, dZ) {
  const c = 2 * Math.sqrt(2 / Math.PI);
  for (let i = 0; i < z.length; i++) {
    const v = z[i], share = s[i];
    dZ[i] = dH[i] * share * (1 + v * (1 - share) * c * (1 + 0.134145 * v * v));
  }
}
