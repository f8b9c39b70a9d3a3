// Maps, { height, width, data: Float32Array }, and what Pillow, SciPy and NumPy do with them. Numbers are rounded where
// theirs are, so that the image that comes out is the library's, see anomalae/images.

export const f32 = Math.fround;

export const map = (height, width) => ({ height, width, data: new Float32Array(height * width) });

// To the nearest whole number, halves to the even one.
export function rint(value) {
  const floor = Math.floor(value);
  const over = value - floor;
  return over > 0.5 || (over === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

// Where the centres of the pixels from `start` to `stop`, `step` apart, lie between -1 and 1.
export function coordinates(start, stop, length, step = 1) {
  const places = [];
  for (let place = start; place < stop; place += step) places.push((place + step / 2) * (2 / length) - 1);
  return places;
}

// The median of float32 numbers, none of them NaN; they are put in another order.
export function median(values) {
  const middle = values.length >> 1;
  const upper = nth(values, middle);
  return values.length % 2 ? upper : f32(f32(largest(values.subarray(0, middle)) + upper) / 2);
}

// Hoare's way to the number that is n-th in order: those before it are no larger then.
function nth(values, n) {
  let [first, last] = [0, values.length - 1];
  while (first < last) {
    const pivot = values[(first + last) >> 1];
    let [i, j] = [first, last];
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const value = values[i];
      values[i++] = values[j];
      values[j--] = value;
    }
    if (n <= j) last = j;
    else if (n >= i) first = i;
    else break;
  }
  return values[n];
}

export function largest(values) {
  let most = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  return most;
}

// A map less another one, as parts of a number: float32 at every step.
export function apart(image, other, full) {
  const out = map(image.height, image.width);
  const [ours, theirs] = [image.data, other.data];
  for (let i = 0; i < ours.length; i++) out.data[i] = f32(ours[i] - theirs[i]) / full;
  return out;
}

// Those of numbers, float32, of which this is true.
export function kept(values, isKept) {
  const out = new Float32Array(values.length);
  let count = 0;
  for (let i = 0; i < values.length; i++) if (isKept(values[i], i)) out[count++] = values[i];
  return out.subarray(0, count);
}

// What becomes of each number of a map.
export function each(image, made) {
  const out = map(image.height, image.width);
  for (let i = 0; i < out.data.length; i++) out.data[i] = made(image.data[i], i);
  return out;
}

// Tones in [0, 1] of a part of a grey picture, { height, width, levels: Uint8Array }, averaged over blocks.
export function reducedTones(gray, factor, top = 0, bottom = gray.height, left = 0, right = gray.width) {
  const step = Math.max(1, factor);
  const out = map(Math.ceil((bottom - top) / step), Math.ceil((right - left) / step));
  for (let y = 0; y < out.height; y++) {
    const rows = Math.min(step, bottom - top - y * step);
    for (let x = 0; x < out.width; x++) {
      const columns = Math.min(step, right - left - x * step);
      let total = 0;
      for (let row = top + y * step; row < top + y * step + rows; row++) {
        const start = row * gray.width + left + x * step;
        for (let place = start; place < start + columns; place++) total += gray.levels[place];
      }
      out.data[y * out.width + x] = total / (rows * columns * 255);
    }
  }
  return out;
}

// Averages over blocks of a map, as Pillow's `reduce`: it adds four floats as floats, and those sums as doubles.
export function reduce(image, factor) {
  if (factor <= 1) return image;
  const { height, width, data } = image;
  const out = map(Math.ceil(height / factor), Math.ceil(width / factor));
  for (let y = 0; y < out.height; y++) {
    const rows = Math.min(factor, height - y * factor);
    for (let x = 0; x < out.width; x++) {
      const columns = Math.min(factor, width - x * factor);
      const whole = rows === factor && columns === factor;
      let total = 0;
      for (let row = 0; row < rows; row += whole ? 2 : 1) {
        const start = (y * factor + row) * width + x * factor;
        const two = whole && row + 1 < rows;
        for (let column = 0; column < columns; column += whole ? 2 : 1) {
          const place = start + column;
          const beside = whole && column + 1 < columns;
          let sum = data[place];
          if (beside) sum = f32(sum + data[place + 1]);
          if (two) sum = f32(sum + data[place + width]);
          if (two && beside) sum = f32(sum + data[place + width + 1]);
          total += sum;
        }
      }
      out.data[y * out.width + x] = total * (1 / (rows * columns));
    }
  }
  return out;
}

function cubic(value) {
  const x = Math.abs(value);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((x - 5) * x + 8) * x * -0.5 + 2 : 0;
}

// Of each of n places from `start` to `end` of a line, where its pixels begin and what each weighs: Pillow's bicubic.
function cubicWeights(length, start, end, n) {
  const scale = f32(end - start) / n;
  const wide = Math.max(1, scale);
  const lines = [];
  for (let place = 0; place < n; place++) {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 2 * wide + 0.5));
    const past = Math.min(length, Math.trunc(centre + 2 * wide + 0.5));
    const weights = [];
    let total = 0;
    for (let x = first; x < past; x++) {
      weights.push(cubic((x - centre + 0.5) * (1 / wide)));
      total += weights[x - first];
    }
    lines.push({ first, weights: weights.map((weight) => (total ? weight / total : weight)) });
  }
  return lines;
}

// A map's window, left, top, right, bottom, scaled to side x side.
export function resized(image, side, window) {
  const [left, top, right, bottom] = window.map(f32);
  const across = cubicWeights(image.width, left, right, side);
  const down = cubicWeights(image.height, top, bottom, side);
  const between = map(image.height, side);
  for (let y = 0; y < image.height; y++) {
    across.forEach(({ first, weights }, x) => {
      let total = 0;
      for (let i = 0; i < weights.length; i++) total += image.data[y * image.width + first + i] * weights[i];
      between.data[y * side + x] = total;
    });
  }
  const out = map(side, side);
  down.forEach(({ first, weights }, y) => {
    for (let x = 0; x < side; x++) {
      let total = 0;
      for (let i = 0; i < weights.length; i++) total += between.data[(first + i) * side + x] * weights[i];
      out.data[y * side + x] = total;
    }
  });
  return out;
}

// SciPy's Gaussian weights from the middle outwards.
export function gaussian(sigma) {
  const reach = Math.trunc(4 * sigma + 0.5);
  const weights = [];
  for (let place = 0; place <= reach; place++) weights.push(Math.exp((-0.5 / (sigma * sigma)) * place * place));
  const total = weights.reduce((sum, weight, place) => sum + (place ? 2 : 1) * weight, 0);
  return weights.map((weight) => weight / total);
}

// Which pixel of a line lies at a place beyond its ends, the line mirrored there.
export function mirrored(place, length) {
  const at = ((place % (2 * length)) + 2 * length) % (2 * length);
  return at < length ? at : 2 * length - 1 - at;
}

// A map blurred by a Gaussian, down and then across. Sums are doubles, from the outermost pixels to the middle.
export function blurred(image, sigma) {
  const { height, width, data } = image;
  const weights = gaussian(sigma);
  const reach = weights.length - 1;
  const out = map(height, width);
  const [line, sums] = [new Float64Array(width + 2 * reach), new Float32Array(width)];
  for (let y = 0; y < height; y++) {
    weigh(image, y, weights, 1, line, sums);
    line.set(sums, reach);
    mirrorEnds(line, reach);
    for (let x = 0, place = y * width; x < width; x++, place++) {
      let total = line[x + reach] * weights[0];
      for (let k = reach; k > 0; k--) total += (line[x + reach - k] + line[x + reach + k]) * weights[k];
      out.data[place] = total;
    }
  }
  return out;
}

// Of a row, the sums of the rows around it by their weights into `sums`; `sign` -1 turns those above over. `line` is used.
function weigh({ height, width, data }, y, weights, sign, line, sums) {
  const middle = sign > 0 ? weights[0] : 0;
  for (let x = 0; x < width; x++) line[x] = data[y * width + x] * middle;
  for (let k = weights.length - 1; k > 0; k--) {
    const [above, below] = [mirrored(y - k, height) * width, mirrored(y + k, height) * width];
    const [weight, other] = [weights[k], sign * weights[k]];
    for (let x = 0; x < width; x++) line[x] += data[below + x] * weight + data[above + x] * other;
  }
  for (let x = 0; x < width; x++) sums[x] = line[x];
}

// What lies beyond the ends of a line, mirrored there, around it.
function mirrorEnds(line, reach) {
  const width = line.length - 2 * reach;
  for (let i = 1; i <= reach; i++) {
    line[reach - i] = line[reach + mirrored(-i, width)];
    line[reach + width - 1 + i] = line[reach + mirrored(width - 1 + i, width)];
  }
}

// The length of the gradient of a blurred map, in the rows that are asked for, one after another.
export function* slopes(image, sigma, rows) {
  const { width } = image;
  const weights = gaussian(sigma);
  const steep = weights.map((weight, place) => (weight * place) / sigma ** 2);
  const reach = weights.length - 1;
  const [soft, sloping] = [new Float64Array(width + 2 * reach), new Float64Array(width + 2 * reach)];
  for (const y of rows) {
    const [line, sums, lengths] = [new Float64Array(width), new Float64Array(width), new Float64Array(width)];
    weigh(image, y, weights, 1, line, sums);
    soft.set(sums, reach);
    mirrorEnds(soft, reach);
    weigh(image, y, steep, -1, line, sums);
    sloping.set(sums, reach);
    mirrorEnds(sloping, reach);
    for (let x = 0; x < width; x++) {
      let across = 0;
      let down = sloping[x + reach] * weights[0];
      for (let k = 1; k <= reach; k++) {
        across += (soft[x + reach + k] - soft[x + reach - k]) * steep[k];
        down += (sloping[x + reach + k] + sloping[x + reach - k]) * weights[k];
      }
      lengths[x] = Math.sqrt(across * across + down * down);
    }
    yield lengths;
  }
}

// What is reached from a mask by so many steps to pixels beside, above or below.
export function grown(mask, height, width, steps) {
  const away = new Int32Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      let nearest = mask[i] ? 0 : steps + 1;
      if (y > 0) nearest = Math.min(nearest, away[i - width] + 1);
      if (x > 0) nearest = Math.min(nearest, away[i - 1] + 1);
      away[i] = nearest;
    }
  }
  const out = new Uint8Array(height * width);
  for (let i = height * width - 1; i >= 0; i--) {
    if (i + width < height * width) away[i] = Math.min(away[i], away[i + width] + 1);
    if ((i + 1) % width) away[i] = Math.min(away[i], away[i + 1] + 1);
    out[i] = away[i] <= steps ? 1 : 0;
  }
  return out;
}

// The connected regions, corners included, of a map above a threshold: places of their pixels, a region each.
export function regions({ height, width, data }, threshold) {
  const seen = new Uint8Array(height * width);
  const places = new Int32Array(height * width);
  const found = [];
  let end = 0;
  for (let start = 0; start < seen.length; start++) {
    if (seen[start] || !(data[start] > threshold)) continue;
    const first = end;
    seen[start] = 1;
    places[end++] = start;
    for (let next = first; next < end; next++) {
      const y = Math.floor(places[next] / width);
      const x = places[next] - y * width;
      const [top, bottom] = [y > 0 ? y - 1 : 0, y + 1 < height ? y + 1 : y];
      const [left, right] = [x > 0 ? x - 1 : 0, x + 1 < width ? x + 1 : x];
      for (let v = top; v <= bottom; v++) {
        for (let place = v * width + left; place <= v * width + right; place++) {
          if (seen[place] || !(data[place] > threshold)) continue;
          seen[place] = 1;
          places[end++] = place;
        }
      }
    }
    found.push(places.subarray(first, end));
  }
  return found;
}

// Height, width and first and last rows and columns of what is true.
export function extent(mask, height, width) {
  let [top, bottom, left, right] = [height, -1, width, -1];
  for (let i = 0; i < height * width; i++) {
    if (!mask[i]) continue;
    const [y, x] = [Math.floor(i / width), i % width];
    [top, bottom, left, right] = [Math.min(top, y), y, Math.min(left, x), Math.max(right, x)];
  }
  return { top, bottom, left, right, height: bottom - top + 1, width: right - left + 1 };
}
