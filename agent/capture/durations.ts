/** Upper bounds 2^6, 2^8 … 2^24 µs, inclusive, and what is longer: as histogramBoundsSeconds of the catalogue. */
export const durationPlaces = 11

/** Of a histogram with durationPlaces places. */
export function durationPlace(durationMs: number): number {
  const microseconds = Math.round(durationMs * 1000)
  for (let place = 0; place < durationPlaces - 1; place++) if (microseconds <= 2 ** (6 + 2 * place)) return place
  return durationPlaces - 1
}
