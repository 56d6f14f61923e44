// Shapes that are learned have mean 0 and mean variance 1.

// Points f32[n, 2] with mean 0 and mean variance 1, as dataset.py: normalize.
function normalized(points) {
  const n = points.length / 2, mean = [0, 0];
  for (let i = 0; i < points.length; i++) mean[i % 2] += points[i] / n;
  let variance = 0;
  for (let i = 0; i < points.length; i++) variance += (points[i] - mean[i % 2]) ** 2 / (2 * n);
  const scale = Math.sqrt(variance);
  return Float32Array.from(points, (v, i) => (v - mean[i % 2]) / (scale || 1));
}
