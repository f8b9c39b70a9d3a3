// What judges in the browser: the drawing becomes canonical, and the exported model does the rest. See page.js for what an
// engine is; what is shown is what anomalae/server/looking.py makes of the same canvas.

import * as ort from "onnxruntime-web/wasm";

import { canonical } from "./canonical.js";
import { rint } from "./maps.js";
import { part } from "./parts.js";

const SIDE = 28;
// Calibration scores that the page is told, evenly from the least to the largest.
const TOLD = 201;

export class Engine {
  // facts: what anomalae/demo/facts.py tells of the run.
  constructor(facts) {
    this.facts = facts;
    this.colours = Uint8Array.from(facts.colours.match(/../g), (two) => parseInt(two, 16));
    this.isReady = false;
    this.footer =
      "<p>Nothing leaves this page: the model is in it, and the browser computes.</p>" +
      '<details id="licences"><summary>Licences</summary><pre tabindex="0"></pre></details>';
    // One after another: the runtime does one thing at a time.
    this.model = this.load("model.onnx");
    this.decoder = facts.latent_dim === null ? null : this.model.then(() => this.load("decoder.onnx"));
    // Said where they are asked for.
    this.model.then(() => (this.isReady = true)).catch(() => {});
    this.decoder?.catch(() => {});
  }

  async load(name) {
    if (!ort.env.wasm.wasmBinary) {
      ort.env.wasm.numThreads = 1;
      ort.env.wasm.proxy = false;
      ort.env.wasm.wasmBinary = (await part("ort.wasm.gz")).buffer;
    }
    // It would warn of alpha, which has a value in the graph already.
    return ort.InferenceSession.create(await part(name), { logSeverityLevel: 3 });
  }

  runs() {
    return [this.facts];
  }

  refusal(file) {
    return `${file.name}: this page judges drawings alone; pictures are read by anomalae score and anomalae serve.`;
  }

  async look(drawn) {
    const { facts } = this;
    const { data } = drawn.getContext("2d").getImageData(0, 0, drawn.width, drawn.height);
    // Grey on black: one of the colours is all.
    const levels = new Uint8Array(data.length / 4);
    for (let i = 0; i < levels.length; i++) levels[i] = data[4 * i];
    const image = canonical({ height: drawn.height, width: drawn.width, levels }, facts.preprocess);
    if (!image) throw new Error("The drawing turned blank though it has ink: none of it is like the strokes of a digit.");
    const model = await this.model;
    const found = await model.run({ images: new ort.Tensor("uint8", image, [1, SIDE, SIDE]) });
    const known = found.calibration.data;
    const told = Math.min(TOLD, known.length);
    const threshold = found.threshold.data[0];
    return {
      score: found.score.data[0],
      p_value: found.p_value.data[0],
      flagged: Boolean(found.flagged.data[0]),
      alpha: facts.alpha,
      threshold: Number.isFinite(threshold) ? threshold : null,
      rule: facts.score,
      n_calibration: known.length,
      folds: facts.folds,
      calibration: Array.from({ length: told }, (_, i) => known[rint(told > 1 ? (i * (known.length - 1)) / (told - 1) : 0)]),
      blank: !image.some((level) => level),
      canonical: grey(image),
      seen: grey(levelsOf(found.seen.data)),
      reconstruction: grey(levelsOf(found.reconstruction.data)),
      heatmap: this.heat(found.heatmap.data, found.heat_level.data[0]),
      heat_note: facts.heat_note,
      nearest: found.nearest ? each(found.nearest.data).map(grey) : [],
      code: facts.latent_dim === null ? null : Array.from(found.latent.data),
    };
  }

  async decode(_, code) {
    const decoder = await this.decoder;
    const { decoded } = await decoder.run({ codes: new ort.Tensor("float32", Float32Array.from(code), [1, code.length]) });
    return grey(levelsOf(decoded.data));
  }

  // Signed terms in the colours of the library's heatmaps, full at a fiftieth of the level.
  heat(terms, level) {
    const scale = Math.max(level / 50, 2 ** -126);
    const n = this.colours.length / 3;
    return picture((i, colour) => {
      const share = Math.max(-1, Math.min(1, terms[i] / scale)) / 2 + 0.5;
      return this.colours[3 * Math.min(n - 1, Math.floor(share * n)) + colour];
    });
  }
}

// Images one after another.
function each(images) {
  const size = SIDE * SIDE;
  return Array.from({ length: images.length / size }, (_, i) => images.subarray(i * size, (i + 1) * size));
}

function levelsOf(tones) {
  const levels = new Uint8ClampedArray(tones.length);
  for (let i = 0; i < tones.length; i++) levels[i] = tones[i] * 255;
  return levels;
}

const grey = (levels) => picture((i) => levels[i]);

const canvas = document.createElement("canvas");
canvas.width = canvas.height = SIDE;
const pen = canvas.getContext("2d", { willReadFrequently: true });

// The address of a picture whose pixel i has `level(i, colour)` of red, green and blue, colour 0, 1 and 2.
function picture(level) {
  const pixels = pen.createImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) {
    for (let colour = 0; colour < 3; colour++) pixels.data[4 * i + colour] = level(i, colour);
    pixels.data[4 * i + 3] = 255;
  }
  pen.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}
