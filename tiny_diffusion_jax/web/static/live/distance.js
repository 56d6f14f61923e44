// Median distance between the points f32[n, D] of two arrays.
function medianDistance(a, b, dim) {
  const far = Float64Array.from({ length: a.length / dim }, (_, n) => {
    let squared = 0;
    for (let i = n * dim; i < (n + 1) * dim; i++) squared += (a[i] - b[i]) ** 2;
    return Math.sqrt(squared);
  }).sort();
  return (far[Math.floor((far.length - 1) / 2)] + far[Math.ceil((far.length - 1) / 2)]) / 2;
}
