// The plane of live/board.js, and the places of the arrows of a field.

const ARROWS_PER_SIDE = 21;
const FIELD_HALF = 2.7; // standard deviations of the data from their mean to the edge

// Centres of squares f32[ARROWS_PER_SIDE^2, 2], row by row, for data of this mean and spread.
function gridPlaces(mean = [0, 0], spread = 1) {
  const places = new Float32Array(2 * ARROWS_PER_SIDE ** 2);
  const at = (i, d) => mean[d] + spread * FIELD_HALF * ((2 * (i + 0.5)) / ARROWS_PER_SIDE - 1);
  for (let i = 0; i < places.length / 2; i++) {
    places[2 * i] = at(i % ARROWS_PER_SIDE, 0);
    places[2 * i + 1] = at(Math.floor(i / ARROWS_PER_SIDE), 1);
  }
  return places;
}
