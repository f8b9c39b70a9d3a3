// A canvas becomes canonical, 28 x 28, light ink on black, as the library makes it of a picture with light ink: see
// anomalae/images/canonical.py and lost.py, whose names these are.

import { findStrokes, noiseLevel, paperAt } from "./ink.js";
import { apart, coordinates, each, extent, f32, grown, kept, largest, map, median, reducedTones, resized, rint } from "./maps.js";
import { LEAST_TONE, sheetOf } from "./sheet.js";

const SIDE = 28;
const FIT = 20;
const MIDDLE = SIDE / 2 + 0.5;
const PHASE = 0.1;
const SOFTENING = 0.3;
const EDGE = 0.5;
const WORKING_SIDE = 512;
const FIRST_SIDE = 256;
const LARGE = 0.25;
const DIGIT_SIDE = 120;
const LOOK_SIDE = 256;
const STEP = 0.015;
const PLAIN = 0.15;
const ABOVE_NOISE = 8;
const LEAST_SHARE = 0.001;
const LEAST_STEPS = 6;

// The canonical image of a canvas, Uint8Array of 784 levels; null for a canvas whose ink is lost on the way.
// gray: { height, width, levels: Uint8Array }; it is not 28 x 28. preprocess: `auto`, `mnist` or `resize`.
export function canonical(gray, preprocess) {
  const image = preprocess === "resize" ? whole(gray) : fitted(gray);
  return image.some((level) => level) || !isLost(gray) ? image : null;
}

function levelsOf(drawn, full) {
  const white = f32(full);
  return new Uint8Array(each(drawn, (value) => rint(f32(Math.min(1, Math.max(0, f32(value / white))) * 255))).data);
}

function whole(gray) {
  const tones = reducedTones(gray, Math.floor(Math.max(gray.height, gray.width) / WORKING_SIDE));
  return levelsOf(resized(tones, SIDE, [0, 0, tones.width, tones.height]), 1);
}

function fitted(gray) {
  const ink = digitOf(gray);
  const strokes = ink && findStrokes(ink, 1);
  return strokes ? fitInk(ink, strokes) : new Uint8Array(SIDE * SIDE);
}

const longer = ({ mask, smooth: { height, width } }) => {
  const reach = extent(mask, height, width);
  return Math.max(reach.height, reach.width);
};

// The part of the canvas that holds the digit, a map of contrast.
function digitOf(gray) {
  let sheet = sheetOf(gray, "light", FIRST_SIDE);
  if (Math.max(gray.height, gray.width) > FIRST_SIDE && (!sheet || longer(sheet.strokes) < LARGE * FIRST_SIDE)) {
    sheet = sheetOf(gray, "light", WORKING_SIDE);
  }
  if (!sheet) return null;
  const { factor, strokes } = sheet;
  const { height, width } = sheet.gray;
  const reach = extent(strokes.mask, strokes.smooth.height, strokes.smooth.width);
  const side = factor * Math.max(reach.height, reach.width);
  const margin = Math.floor(side / 4) + 4 * factor;
  const [top, bottom] = [Math.max(0, factor * reach.top - margin), Math.min(height, factor * (reach.bottom + 1) + margin)];
  const [left, right] = [Math.max(0, factor * reach.left - margin), Math.min(width, factor * (reach.right + 1) + margin)];
  const finer = Math.max(1, Math.ceil(side / DIGIT_SIDE));
  const part = reducedTones(sheet.gray, finer, top, bottom, left, right);
  const paper = paperAt(sheet.paper, coordinates(top, bottom, height, finer), coordinates(left, right, width, finer));
  return apart(part, paper, f32(Math.max(sheet.white, LEAST_TONE)));
}

// What is drawn in a map of contrast, fitted as MNIST's digits are.
function fitInk(ink, first) {
  const perPixel = longer(first) / FIT;
  const strokes = findStrokes(ink, Math.max(0.3 * perPixel, 0.4)) ?? first;
  const near = grown(strokes.mask, ink.height, ink.width, Math.max(1, rint(0.6 * perPixel)));
  const strength = f32(strokes.strength);
  const clean = map(ink.height, ink.width);
  for (let i = 0; i < near.length; i++) if (near[i]) clean.data[i] = Math.min(strength, Math.max(0, ink.data[i]));
  const box = boxAround(strokes);
  return drawn(clean, box, ...shiftToMiddle(box, clean));
}

// The square with the digit in its middle, its edges found to a fraction of a pixel.
function boxAround(strokes) {
  const { height, width, data } = strokes.smooth;
  const reach = Math.max(1, rint((2 * longer(strokes)) / FIT));
  const [rows, columns] = [new Float32Array(height), new Float32Array(width)];
  data.forEach((value, i) => {
    const [y, x] = [Math.floor(i / width), i % width];
    rows[y] = Math.max(rows[y], value);
    columns[x] = Math.max(columns[x], value);
  });
  const ends = (profile) => [
    begin(profile, strokes.strength, reach),
    profile.length - begin(profile.slice().reverse(), strokes.strength, reach),
  ];
  const [[top, bottom], [left, right]] = [ends(rows), ends(columns)];
  const side = Math.max(bottom - top, right - left);
  const nudge = (PHASE * side) / FIT;
  const y = (top + bottom) / 2 + (bottom - top < right - left ? nudge : 0);
  const x = (left + right) / 2 + (right - left < bottom - top ? nudge : 0);
  return { top: y - side / 2, left: x - side / 2, side };
}

function begin(profile, strength, reach) {
  const first = profile.findIndex((value) => value > 0);
  const level = f32(EDGE * Math.min(strength, largest(profile.subarray(first, first + reach))));
  const inside = first + Math.max(0, profile.subarray(first).findIndex((value) => value >= level));
  if (inside === 0) return 0;
  return inside + 0.5 - f32(f32(profile[inside] - level) / f32(profile[inside] - profile[inside - 1]));
}

// How far down and right, in final pixels, the box goes to bring the ink's centre of mass to the middle.
function shiftToMiddle(box, { width, data }) {
  let [mass, down, across] = [0, 0, 0];
  data.forEach((value, i) => {
    mass += value;
    down += value * (Math.floor(i / width) + 0.5);
    across += value * ((i % width) + 0.5);
  });
  const scale = FIT / box.side;
  return [glide(MIDDLE - (down / mass - box.top) * scale), glide(MIDDLE - (across / mass - box.left) * scale)];
}

function glide(shift) {
  const floor = Math.floor(shift);
  return floor + Math.min(1, Math.max(0, (shift - floor - 0.5) / SOFTENING + 0.5));
}

// The box scaled into the field of 28 x 28, shifted, with its strokes at 255.
function drawn(clean, box, down, right) {
  const pixel = box.side / FIT;
  const [top, left, side] = [box.top - down * pixel, box.left - right * pixel, SIDE * pixel];
  const { height, width } = clean;
  const border = Math.max(0, Math.ceil(Math.max(-top, -left, top + side - height, left + side - width)));
  const padded = map(height + 2 * border, width + 2 * border);
  for (let y = 0; y < height; y++) {
    padded.data.set(clean.data.subarray(y * width, (y + 1) * width), (y + border) * padded.width + border);
  }
  const field = resized(padded, SIDE, [left + border, top + border, left + border + side, top + border + side]);
  const least = f32(f32(0.7) * largest(field.data));
  return levelsOf(field, median(kept(field.data, (value) => value >= least)));
}

// Whether a canvas that came out blank shows ink.
function isLost(gray) {
  const sheet = sheetOf(gray, "auto", WORKING_SIDE);
  if (sheet && !sheet.isLight) return true;
  const tones = reducedTones(gray, Math.ceil(Math.max(gray.height, gray.width) / LOOK_SIDE));
  const { height, width, data } = tones;
  const least = Math.max(PLAIN * Math.max(largest(data), LEAST_TONE), ABOVE_NOISE * noiseLevel(tones));
  const reach = Math.max(1, rint(STEP * Math.max(height, width)));
  let steps = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = data[y * width + x];
      if (y >= reach && Math.abs(here - data[(y - reach) * width + x]) > least) steps += 1;
      if (x >= reach && Math.abs(here - data[y * width + x - reach]) > least) steps += 1;
    }
  }
  return steps >= Math.max(LEAST_STEPS, LEAST_SHARE * data.length);
}
