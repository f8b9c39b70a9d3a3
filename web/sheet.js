// A canvas as a sheet: reduced to a working size, its paper and ink told apart, with paper around ink that reaches the
// edges. See anomalae/images/sheet.py and tight.py, whose names these are. A canvas is square.

import { findPaper, findPolarity, frame, GRAIN, paperAt, SOFT, TOLERANCE } from "./ink.js";
import { apart, coordinates, each, f32, kept, largest, median, reduce, reducedTones, regions, rint, slopes } from "./maps.js";
import { shortest } from "./solve.js";

// Below this tone nothing is told apart.
export const LEAST_TONE = 64 / 255;
const MOST_AWAY = 0.1;
const TWO_TONED = 0.76;
const LEAST_SHARP = 1.3;
const LARGE = 40;
const MOST_OF_EDGE = 0.7;
const MOST_OF_SQUARE = 0.72;
const NEARER = [0.5, 0.4, 0.3, 0.2, 0.1, 0.1];
const LEAST_PAPER = 80;
const LOOK_SIDE = 64;

// The sheet of a canvas, { height, width, levels }; null where there is no ink. `polarity` is `light` or `auto`.
export function sheetOf(gray, polarity, side) {
  const sheet = asItIs(gray, polarity, side);
  if (sheet && hasPaperAround(sheet)) return sheet;
  const factor = Math.ceil(Math.max(gray.height, gray.width) / side);
  const tight = findTight(reducedTones(gray, factor), polarity);
  let [light, paper, reached] = [tight?.isLight, tight?.paper, [1, 1, 1, 1]];
  if (!tight) {
    if (!sheet || !sidesReached(sheet).includes(1)) return sheet;
    [light, paper, reached] = [sheet.isLight, sheet.paper, sidesReached(sheet)];
  }
  const margin = Math.floor(Math.max(gray.height, gray.width) / 4) + 4 * factor;
  return asItIs(withRoom(gray, reached.map((one) => one * margin), paper), light ? "light" : "dark", side) ?? sheet;
}

function asItIs(gray, polarity, side) {
  const factor = Math.ceil(Math.max(gray.height, gray.width) / side);
  const tones = reducedTones(gray, factor);
  const paper = findPaper(tones);
  const ground = paperAt(paper, coordinates(0, tones.height, tones.height), coordinates(0, tones.width, tones.width));
  const white = Math.max(largest(tones.data), LEAST_TONE);
  const { isLight, strokes } = findPolarity(apart(tones, ground, f32(white)), polarity);
  return strokes && { gray, factor, tones, ground, paper, white, isLight, strokes };
}

// Whether what was taken for paper is all that lies along the edges.
function hasPaperAround({ tones, ground, strokes, white }) {
  if (sidesReached({ tones, strokes }).includes(1)) return false;
  const edge = frame(each(tones, (tone, i) => Math.abs(tone - ground.data[i])));
  const least = f32(TOLERANCE * strokes.strength * white);
  const away = kept(edge, (value) => value > least);
  return away.length / edge.length <= MOST_AWAY;
}

// 1 for each side that ink reaches: top, bottom, left, right.
function sidesReached({ tones: { height, width }, strokes: { mask } }) {
  const reached = [0, 0, 0, 0];
  for (let x = 0; x < width; x++) {
    reached[0] |= mask[x];
    reached[1] |= mask[(height - 1) * width + x];
  }
  for (let y = 0; y < height; y++) {
    reached[2] |= mask[y * width];
    reached[3] |= mask[y * width + width - 1];
  }
  return reached;
}

// A canvas with paper around it, as light as the paper at the nearest edge.
function withRoom(gray, [above, below, before, behind], paper) {
  const [height, width] = [above + gray.height + below, before + gray.width + behind];
  const near = (places, first, last) => [...Array(first).fill(places[0]), ...places, ...Array(last).fill(places.at(-1))];
  const rows = near(coordinates(0, gray.height, gray.height), above, below);
  const columns = near(coordinates(0, gray.width, gray.width), before, behind);
  const ground = paperAt(paper, rows, columns);
  const levels = new Uint8Array(height * width);
  for (let i = 0; i < levels.length; i++) levels[i] = rint(f32(Math.min(1, Math.max(0, ground.data[i])) * 255));
  for (let y = 0; y < gray.height; y++) {
    levels.set(gray.levels.subarray(y * gray.width, (y + 1) * gray.width), (above + y) * width + before);
  }
  return { height, width, levels };
}

// --- ink that reaches the edges -----------------------------------------------------------------------------------

function findTight(tones, polarity) {
  const small = reduce(tones, Math.ceil(Math.max(tones.height, tones.width) / LOOK_SIDE));
  const two = twoTones(small.data);
  if (!two || two.share < TWO_TONED) return null;
  const light = each(small, (tone) => (tone > two.threshold ? 1 : 0)).data;
  if (!isSharp(small, light)) return null;
  const inks = polarity === "light" ? [light] : [light, light.map((one) => 1 - one)];
  const claims = inks.map((ink) => [claim(ink, small), -share(edgeOf(ink, small))]);
  const better = claims.length > 1 && (claims[1][0] > claims[0][0] || (claims[1][0] === claims[0][0] && claims[1][1] > claims[0][1]));
  const ink = inks[better ? 1 : 0];
  const fits = share(edgeOf(ink, small)) <= MOST_OF_EDGE && share(ink) * ink.length <= MOST_OF_SQUARE * Math.max(small.height, small.width) ** 2;
  return fits ? { isLight: ink === light, paper: plane(small, ink) } : null;
}

const share = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Otsu's threshold between two tones, and their share of the variance; null for one tone.
function twoTones(data) {
  const values = new Float64Array(data).sort();
  const n = values.length;
  if (values[n - 1] - values[0] <= GRAIN * Math.max(values[n - 1], GRAIN)) return null;
  const mean = share(values);
  let [sum, best, place] = [0, -1, 0];
  for (let i = 0; i + 1 < n; i++) {
    sum += values[i];
    const between = values[i + 1] === values[i] ? 0 : (mean * (i + 1) - sum) ** 2 / ((i + 1) * (1 - (i + 1) / n));
    if (between > best) [best, place] = [between, i];
  }
  const variance = values.reduce((total, value) => total + (value - mean) ** 2, 0);
  return { threshold: (values[place] + values[place + 1]) / 2, share: best / variance };
}

// Whether the two tones meet in edges, as ink and paper do, and not in a shade.
function isSharp(tones, light) {
  const { height, width } = tones;
  const side = Math.max(height, width);
  const rows = Array.from({ length: height }, (_, y) => y);
  const steep = [...slopes(tones, Math.max(0.5, 0.02 * side), rows)].flatMap((lengths) => [...lengths]).filter((_, i) => {
    const [y, x] = [Math.floor(i / width), i % width];
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) if (light[v * width + u] !== light[i]) return true;
    }
    return false;
  });
  const mean = (which) => share(tones.data.filter((_, i) => light[i] === which));
  return percentile(steep, side >= LARGE ? 25 : 50) * SOFT * side >= LEAST_SHARP * (mean(1) - mean(0));
}

function percentile(values, percent) {
  const sorted = Float64Array.from(values).sort();
  const place = ((sorted.length - 1) * percent) / 100;
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

// A plane through the tones where there is no ink, with weights that shrink to what is near.
function plane({ height, width, data }, ink) {
  const places = [];
  coordinates(0, height, height).forEach((y, row) =>
    coordinates(0, width, width).forEach((x, column) => {
      const i = row * width + column;
      if (!ink[i]) places.push({ basis: [1, x, y], value: data[i] });
    }),
  );
  let found = [median(new Float32Array(places.map(({ value }) => value))), 0, 0];
  const contrast = Math.abs(share(data.filter((_, i) => ink[i])) - found[0]);
  for (const allowed of places.length >= LEAST_PAPER ? NEARER : []) {
    const gram = [0, 1, 2].map(() => [0, 0, 0]);
    const products = [0, 0, 0];
    let count = 0;
    for (const { basis, value } of places) {
      const away = (value - basis.reduce((sum, one, i) => sum + one * found[i], 0)) / Math.max(allowed * contrast, GRAIN);
      const weight = Math.max(0, 1 - away * away) ** 2;
      if (weight > 0) count += 1;
      basis.forEach((one, i) => {
        products[i] += weight * one * value;
        basis.forEach((other, j) => (gram[i][j] += weight * one * other));
      });
    }
    if (count < LEAST_PAPER) break;
    found = shortest(gram, products);
  }
  return [...found, ...Array(12).fill(0)];
}

// How much speaks for a tone to be the ink: a piece that goes through, and few pixels at edges and corners.
function claim(ink, { height, width }) {
  const through = regions({ height, width, data: ink }, 0).map((places) => {
    const sides = [0, 0, 0, 0];
    for (const i of places) {
      if (i < width) sides[0] = 1;
      if (i >= (height - 1) * width) sides[1] = 1;
      if (i % width === 0) sides[2] = 1;
      if (i % width === width - 1) sides[3] = 1;
    }
    return sides.reduce((sum, one) => sum + one);
  });
  const corners = [0, width - 1, (height - 1) * width, height * width - 1].map((i) => ink[i]);
  return Math.max(0, ...through) / 4 - share(edgeOf(ink, { height, width })) - share(corners);
}

function edgeOf(mask, { height, width }) {
  return mask.filter((_, i) => i < width || i >= (height - 1) * width || i % width === 0 || i % width === width - 1);
}
