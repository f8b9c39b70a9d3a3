// Ink and paper: the paper's tone at each place, and the strokes. See anomalae/images/ink.py, whose names these are.

import { blurred, coordinates, each, f32, kept, largest, map, median, reduce, regions, slopes } from "./maps.js";
import { solve } from "./solve.js";

const FAINTEST = 0.04;
export const GRAIN = 0.02;
const SPECK = 3;
const SMALLEST_PART = 0.03;
const WIDE = 0.25;
export const SOFT = 0.2;
const SHARP = 5.6;
export const TOLERANCE = 0.3;
// Powers of x and of y in the polynomial of the paper's tone, by their degree.
const POWERS = [];
for (let degree = 0; degree <= 4; degree++) for (let power = degree; power >= 0; power--) POWERS.push([power, degree - power]);
const TERMS = [3, 3, 3, 6, 6, 6, 15, 15, 15, 15];
const ROOM = [
  [15, 0.85],
  [6, 0.7],
  [3, 0.5],
];

// What a polynomial has of each power of x in the row y.
function inRow(coefficients, y) {
  const line = [0, 0, 0, 0, 0];
  coefficients.forEach((coefficient, n) => {
    if (coefficient) line[POWERS[n][0]] += coefficient * y ** POWERS[n][1];
  });
  return line;
}

// The tone of the paper, a polynomial's coefficients, at rows and columns.
export function paperAt(paper, rows, columns) {
  const out = map(rows.length, columns.length);
  rows.forEach((y, row) => {
    const [a, b, c, d, e] = inRow(paper, y);
    columns.forEach((x, column) => {
      out.data[row * columns.length + column] = a + x * (b + x * (c + x * (d + x * e)));
    });
  });
  return out;
}

// The pixels along the four edges, a twelfth of the shorter side deep.
export function frame({ height, width, data }) {
  const deep = Math.max(1, Math.floor(Math.min(height, width) / 12));
  const out = new Float32Array(data.length);
  let count = 0;
  for (let y = 0; y < height; y++) {
    const whole = y < deep || y >= height - deep;
    for (let x = 0; x < width; x++) {
      if (whole || x < deep || x >= width - deep) out[count++] = data[y * width + x];
    }
  }
  return out.subarray(0, count);
}

// The standard deviation of the noise from pixel to pixel.
export function noiseLevel({ height, width, data }) {
  const steps = new Float32Array(2 * height * width);
  let count = 0;
  for (let i = 0; i < height * width; i++) {
    if (i + width < height * width) steps[count++] = Math.abs(data[i + width] - data[i]);
    if ((i + 1) % width) steps[count++] = Math.abs(data[i + 1] - data[i]);
  }
  return count ? (1.4826 * median(steps.subarray(0, count))) / Math.sqrt(2) : 0;
}

// Sums of weights (Tukey's biweight of the distance from the polynomial), of powers of x and y, and of tones.
function weightedMoments({ data }, down, across, coefficients, cut) {
  const [moments, products] = [9, 5].map((n) => Array.from({ length: n }, () => new Float64Array(n)));
  const [sums, terms] = [new Float64Array(9), new Float64Array(5)];
  let [count, place] = [0, 0];
  for (const y of down) {
    const [a, b, c, d, e] = inRow(coefficients, y);
    sums.fill(0);
    terms.fill(0);
    for (let column = 0; column < across.length; column++, place++) {
      const x = across[column];
      const away = (data[place] - (a + x * (b + x * (c + x * (d + x * e))))) / cut;
      const nearness = 1 - away * away;
      if (!(nearness > 0)) continue;
      count += 1;
      let weight = nearness * nearness;
      for (let i = 0; i < 5; i++, weight *= x) {
        sums[i] += weight;
        terms[i] += weight * data[place];
      }
      for (let i = 5; i < 9; i++, weight *= x) sums[i] += weight;
    }
    let power = 1;
    for (let j = 0; j < 9; j++, power *= y) {
      for (let i = 0; i < 9 - j; i++) moments[i][j] += sums[i] * power;
      for (let i = 0; i < 5 - j; i++) products[i][j] += terms[i] * power;
    }
  }
  return { count, moments, products };
}

// The sheet's tone, whatever is drawn on it: coefficients of the powers.
export function findPaper(tones) {
  const small = reduce(tones, Math.floor(Math.max(tones.height, tones.width) / 64));
  const { height, width, data } = small;
  const [down, across] = [coordinates(0, height, height), coordinates(0, width, width)];
  let coefficients = POWERS.map(() => 0);
  coefficients[0] = median(frame(small));
  let wide = GRAIN;
  for (const value of data) wide = Math.max(wide, Math.abs(value - coefficients[0]));
  const narrow = Math.min(wide, Math.max(4 * noiseLevel(small), GRAIN, TOLERANCE * wide));
  for (const [step, allowed] of TERMS.entries()) {
    const cut = wide * (narrow / wide) ** (step / (TERMS.length - 1));
    const { count, moments, products } = weightedMoments(small, down, across, coefficients, cut);
    const empty = Math.min(height, width) >= 12 ? count / data.length : 0;
    const terms = Math.min(allowed, ROOM.find(([, share]) => empty >= share)?.[0] ?? 1);
    if (count < 4 * terms) break;
    const powers = POWERS.slice(0, terms);
    const gram = powers.map(([i, j]) => powers.map(([k, l]) => moments[i + k][j + l]));
    const solution = solve(gram, powers.map(([i, j]) => products[i][j]));
    coefficients = POWERS.map((_, n) => solution[n] ?? 0);
  }
  return coefficients;
}

// Whether the ink is light, and the strokes in a map of tones less the paper's, null on a blank sheet.
export function findPolarity(difference, polarity) {
  const smooth = blurred(difference, 1);
  const light = polarity === "dark" ? null : strokesOf(smooth);
  const dark = polarity === "light" ? null : strokesOf(each(smooth, (value) => -value));
  if (!light || !dark) return { isLight: polarity === "light" || light !== null, strokes: light ?? dark };
  const energy = (found) => found.smooth.data.reduce((sum, value) => sum + value * value, 0);
  const isLight = energy(light) > energy(dark);
  return { isLight, strokes: isLight ? light : dark };
}

// What is drawn in a map of contrast, blurred first; null where nothing is.
export const findStrokes = (ink, sigma) => strokesOf(blurred(ink, sigma));

function below(values) {
  const out = new Float32Array(values.length);
  let count = 0;
  for (let i = 0; i < values.length; i++) if (values[i] < 0) out[count++] = values[i];
  return out.subarray(0, count);
}

function strokesOf(smooth) {
  const negative = below(smooth.data);
  const noise = negative.length ? -1.4826 * median(negative) : 0;
  const found = parts(smooth, Math.max(5 * noise, GRAIN));
  if (!found) return null;
  const least = 0.5 * largest(found.drawn);
  const strength = median(kept(found.drawn, (value) => value >= least));
  if (strength < Math.max(FAINTEST, 6 * noise)) return null;
  const again = parts(found.held, 0.12 * strength);
  return again && { smooth: again.held, mask: again.mask, strength };
}

// The connected regions above a threshold that are neither specks nor shadows; null where there are none.
function parts(smooth, threshold) {
  const { height, width, data } = smooth;
  const side = Math.max(height, width);
  const length = Math.max(SOFT * side, SHARP);
  const found = regions(smooth, f32(threshold)).map((places) => {
    let [peak, mass] = [0, 0];
    for (const place of places) {
      peak = Math.max(peak, data[place]);
      mass += data[place];
    }
    if (side < 16) return { places, mass };
    const [box, core] = [0, 1].map(() => ({ top: height, bottom: -1, left: width, right: -1 }));
    for (const place of places) {
      extend(box, place, width);
      if (data[place] >= 0.5 * peak) extend(core, place, width);
    }
    const reach = Math.max(core.bottom - core.top, core.right - core.left) + 1;
    const solid = reach > SPECK && (reach < WIDE * side || isSteep(cut(smooth, box), peak, length));
    return { places, mass: solid ? mass : 0 };
  });
  const most = found.reduce((mass, one) => Math.max(mass, one.mass), 0);
  const whole = found.filter(({ mass }) => mass > 0 && mass >= SMALLEST_PART * most);
  if (!whole.length) return null;
  const [held, mask] = [map(height, width), new Uint8Array(height * width)];
  const drawn = new Float32Array(whole.reduce((sum, { places }) => sum + places.length, 0));
  let count = 0;
  for (const { places } of whole) {
    for (const place of places) {
      held.data[place] = drawn[count++] = data[place];
      mask[place] = 1;
    }
  }
  return { held, mask, drawn };
}

// Let a box hold the pixel of this number.
function extend(box, i, width) {
  const y = Math.floor(i / width);
  const x = i - y * width;
  if (y < box.top) box.top = y;
  if (y > box.bottom) box.bottom = y;
  if (x < box.left) box.left = x;
  if (x > box.right) box.right = x;
}

// A part of a map and two pixels around it: a thin line is steep just outside of it.
function cut({ height, width, data }, box) {
  const [top, bottom] = [Math.max(0, box.top - 2), Math.min(height, box.bottom + 3)];
  const [left, right] = [Math.max(0, box.left - 2), Math.min(width, box.right + 3)];
  const out = map(bottom - top, right - left);
  for (let y = top; y < bottom; y++) out.data.set(data.subarray(y * width + left, y * width + right), (y - top) * out.width);
  return out;
}

// Whether a part somewhere rises to its peak within so many pixels, as strokes do and shadows do not. A stroke is steep
// nearly everywhere, and so rows are looked at far apart first.
function isSteep(part, peak, length) {
  const side = Math.max(part.height, part.width);
  const factor = Math.max(1, Math.floor(side / 80));
  const small = reduce(part, factor);
  const rows = [];
  for (let first = 0; first < 16; first++) for (let y = (first + 8) % 16; y < small.height; y += 16) rows.push(y);
  for (const lengths of slopes(small, Math.max(0.5, (0.025 * side) / factor), rows)) {
    if (largest(lengths) >= (peak * factor) / length) return true;
  }
  return false;
}
