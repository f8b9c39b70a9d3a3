// The page on which one draws: strokes are kept as lines, the picture of them is judged at every change, and what comes
// back is shown. One picture is judged at a time; of what is drawn meanwhile only the latest is.
//
// What judges is an engine, a server or the browser itself:
//   runs()                 the models there are, each { run, normal, dataset, calibration, calibrations, ... }
//   look(picture, asked)   the verdict of the canvas or of a file, asked = { run, calibration }, and what leads to it
//   decode(run, code)      the image at a place of the latent space, as the address of a picture
//   refusal(file)          why a file cannot be judged; empty for an engine that takes files
//   isReady                false while it is being loaded
//   footer                 HTML of the page's last line
// What it cannot do it throws as an Error, whose message is a sentence. It takes the canvas as it is when it is called.

const SIDE = 280;
const at = (name) => document.getElementById(name);
const canvas = at("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });

let strokes = []; // of { width, points: [[x, y], ...] }, or one { file, picture, n }, the first of n files that were dropped
let history = []; // earlier lists of strokes
let stroke = null;
let tool = "pen";
let key = null; // the pen that the keyboard moves: { x, y, down }
let runs = [];
let engine = null;

// --- drawing ---

function line(width, points) {
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = width;
  pen.strokeStyle = pen.fillStyle = "#fff";
  pen.beginPath();
  if (points.length === 1) {
    pen.arc(points[0][0], points[0][1], width / 2, 0, 2 * Math.PI);
    pen.fill();
    return;
  }
  pen.moveTo(...points[0]);
  for (let i = 1; i + 1 < points.length; i++) {
    const [x, y] = points[i];
    const [u, v] = points[i + 1];
    pen.quadraticCurveTo(x, y, (x + u) / 2, (y + v) / 2);
  }
  pen.lineTo(...points[points.length - 1]);
  pen.stroke();
}

function paint() {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, SIDE, SIDE);
  for (const one of strokes) {
    if (one.file) {
      if (!one.picture) continue;
      const { width, height } = one.picture;
      const scale = Math.min(SIDE / width, SIDE / height);
      pen.drawImage(one.picture, (SIDE - width * scale) / 2, (SIDE - height * scale) / 2, width * scale, height * scale);
    } else {
      line(one.width, one.points);
    }
  }
  at("empty").hidden = strokes.length > 0;
  at("undo").disabled = history.length === 0;
  at("clear").disabled = strokes.length === 0;
}

function change(next) {
  history.push(strokes);
  strokes = next;
  paint();
  look();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
}

function near([x, y], one) {
  if (one.file) return false;
  const reach = one.width / 2 + 6;
  return one.points.some(([u, v], i) => {
    const [a, b] = one.points[Math.max(0, i - 1)];
    const [du, dv] = [u - a, v - b];
    const length = du * du + dv * dv;
    const t = length ? Math.max(0, Math.min(1, ((x - a) * du + (y - b) * dv) / length)) : 0;
    return Math.hypot(x - a - t * du, y - b - t * dv) <= reach;
  });
}

function erase(point) {
  const hit = strokes.findLast((one) => near(point, one));
  if (hit) change(strokes.filter((one) => one !== hit));
}

function begin(point) {
  stroke = { width: Number(at("width").value), points: [point] };
  change([...strokes.filter((one) => !one.file), stroke]);
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  canvas.focus({ preventScroll: true });
  if (tool === "eraser") erase(place(event));
  else begin(place(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (tool === "eraser" && event.buttons === 1) erase(place(event));
  if (!stroke || key) return;
  const last = stroke.points[stroke.points.length - 1];
  for (const each of event.getCoalescedEvents?.() ?? [event]) {
    const point = place(each);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= 1) stroke.points.push(point);
  }
  paint();
  look();
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => {
    stroke = null;
    look();
  });
}

canvas.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key in steps && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    key ??= { x: SIDE / 2, y: SIDE / 2, down: false };
    const step = event.shiftKey ? 2 : 8;
    key.x = Math.max(0, Math.min(SIDE, key.x + step * steps[event.key][0]));
    key.y = Math.max(0, Math.min(SIDE, key.y + step * steps[event.key][1]));
    if (key.down && stroke) stroke.points.push([key.x, key.y]);
    paint();
    mark();
    if (key.down) look();
  } else if (event.key === " ") {
    event.preventDefault();
    key ??= { x: SIDE / 2, y: SIDE / 2, down: false };
    if (tool === "eraser") {
      erase([key.x, key.y]);
    } else {
      key.down = !key.down;
      if (key.down) begin([key.x, key.y]);
      else stroke = null;
    }
    mark();
  } else if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    if (strokes.length) change([]);
  } else if (event.key === "Escape") {
    key = stroke = null;
    paint();
  }
});
canvas.addEventListener("blur", () => {
  if (key) key = stroke = null;
  paint();
});

function mark() {
  if (!key) return;
  pen.strokeStyle = key.down ? "#d55e00" : "#7d5cc6";
  pen.lineWidth = 3;
  pen.beginPath();
  pen.arc(key.x, key.y, 9, 0, 2 * Math.PI);
  pen.stroke();
}

function choose(name) {
  tool = name;
  at("pen").setAttribute("aria-pressed", String(name === "pen"));
  at("eraser").setAttribute("aria-pressed", String(name === "eraser"));
  canvas.parentElement.classList.toggle("erasing", name === "eraser");
}
at("pen").addEventListener("click", () => choose("pen"));
at("eraser").addEventListener("click", () => choose("eraser"));
at("clear").addEventListener("click", () => change([]));
at("undo").addEventListener("click", undo);
function undo() {
  if (!history.length) return;
  strokes = history.pop();
  stroke = null;
  paint();
  look();
}
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    undo();
  }
});

// --- pictures from elsewhere ---

async function take(files) {
  const [file] = files;
  if (!file) return;
  const refusal = engine.refusal(file);
  if (refusal) {
    problem(refusal);
    return;
  }
  // What the browser cannot show a server may read, or say why it cannot.
  const picture = await createImageBitmap(file).catch(() => null);
  change([{ file, picture, n: files.length }]);
}
const board = canvas.parentElement;
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    if (!at("files").hidden) board.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) board.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  board.classList.remove("over");
  take([...(event.dataTransfer?.files ?? [])]);
});
document.addEventListener("paste", (event) => {
  take([...(event.clipboardData?.files ?? [])]);
});
at("file").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});

// --- asking ---

let asking = false;
let again = false;
const busy = (yes) => document.body.toggleAttribute("data-asking", (asking = yes));

async function look() {
  if (asking) {
    again = true;
    return;
  }
  if (!strokes.length) {
    nothing();
    return;
  }
  const dropped = strokes.find((one) => one.file);
  if (dropped) {
    await ask(dropped.file, dropped);
    return;
  }
  paint();
  const answer = ask(canvas);
  mark();
  await answer;
}

async function ask(picture, dropped = null) {
  busy(true);
  if (!engine.isReady) say("One moment", "The model is being loaded.");
  try {
    const found = await engine.look(picture, { run: at("run").value, calibration: at("calibration").value });
    if (strokes.length) show(found, dropped ? firstOf(found.n_images, dropped.n) : "");
    if (dropped && !dropped.picture) await put(found.canonical, dropped);
  } catch (error) {
    if (dropped && !dropped.picture) {
      strokes = strokes.filter((one) => one !== dropped);
      paint();
    }
    // What stands there is the verdict of another picture.
    nothing();
    say("No verdict", "");
    // A server does not learn what a file is called.
    problem(dropped ? error.message.replace(/^picture\b/, () => dropped.file.name) : error.message);
  }
  asking = false;
  if (again) {
    again = false;
    look();
  }
  busy(asking);
}

// Which of several images is judged, in words.
function firstOf(images, files) {
  const parts = [images > 1 ? `the first of ${images} images` : "", files > 1 ? `the first of ${files} files` : ""];
  const words = parts.filter(Boolean).join(" in ");
  return words && `${words[0].toUpperCase()}${words.slice(1)}. `;
}

// What the browser cannot show is shown as it is judged.
async function put(address, dropped) {
  const picture = Object.assign(new Image(), { src: address });
  await picture.decode();
  dropped.picture = picture;
  paint();
}

function problem(words) {
  at("problem").textContent = words;
  at("problem").hidden = false;
  document.body.dataset.state = "problem";
}

// --- showing ---

const NAMES = [
  ["canonical", "28 × 28", "The drawing as it is judged"],
  ["seen", "seen by the network", "The drawing as the network sees it"],
  ["reconstruction", "rebuilt", "What the network rebuilds"],
  ["heatmap", "heatmap: red too much, blue missing", "Where the score comes from: red is ink that was not expected, blue is ink that is missing"],
];
for (const [name, words, long] of NAMES) {
  const figure = document.createElement("figure");
  figure.innerHTML = `<img id="picture-${name}" width="112" height="112" alt="${long}"><figcaption>${words}</figcaption>`;
  at("pictures").append(figure);
}

const short = (value) => Number(value.toPrecision(3)).toString();

function say(word, detail, kind = "") {
  const verdict = at("verdict");
  verdict.className = kind;
  verdict.innerHTML = '<p class="word"></p><p class="detail"></p>';
  verdict.firstChild.textContent = word;
  verdict.lastChild.textContent = detail;
}

function nothing() {
  at("problem").hidden = true;
  say("Nothing drawn yet", "The verdict stands here.");
  for (const name of ["known", "pictures", "nearest", "latent"]) at(name).hidden = true;
  document.body.dataset.state = "empty";
}

function show(found, before = "") {
  at("problem").hidden = true;
  const normal = runs.find((run) => run.run === at("run").value)?.normal.join(", ");
  const word = found.blank ? "No ink" : found.flagged ? "Does not belong" : "Belongs";
  const beyond = Math.round(found.p_value * (found.n_calibration + 1)) - 1;
  say(
    word,
    `${before}p = ${short(found.p_value)}: ${beyond} of ${found.n_calibration} normal images${normal ? ` (${normal})` : ""} score as high; ` +
      `flagged at ${short(found.alpha)} or less. Score ${short(found.score)} by ${found.rule}.`,
    found.flagged ? "anomalous" : "normal",
  );
  for (const [name] of NAMES) {
    const picture = at(`picture-${name}`);
    picture.src = found[name];
  }
  at("known").hidden = at("pictures").hidden = false;
  at("picture-heatmap").title = found.heat_note;
  scale(found);
  at("nearest").hidden = !found.nearest.length;
  at("nearest-pictures").replaceChildren(
    ...found.nearest.map((source, i) => Object.assign(new Image(28, 28), { src: source, alt: `Neighbour ${i + 1}` })),
  );
  latent(found.code);
  document.body.dataset.state = "judged";
  document.body.dataset.score = found.score;
  document.body.dataset.flagged = found.flagged;
}

const NS = "http://www.w3.org/2000/svg";
function shape(name, attributes, words) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (words !== undefined) element.textContent = words;
  return element;
}

// Calibration scores as a curve of how many lie there, the threshold, and the drawing; logarithmic where all are above 0.
function scale(found) {
  const scores = found.calibration;
  const log = !found.folds && scores[0] > 0 && found.score > 0;
  const to = (value) => (log ? Math.log(value) : value);
  const low = to(scores[0]);
  const high = Math.max(to(scores[scores.length - 1]), to(found.threshold ?? found.score));
  const span = high - low || 1;
  const [from, until] = [low - 0.08 * span, high + 1.1 * span];
  const wide = Math.max(300, at("scale").clientWidth || 600);
  at("scale").setAttribute("viewBox", `0 0 ${wide} 96`);
  const step = (wide - 24) / 48;
  const x = (value) => 12 + (wide - 24) * Math.max(0, Math.min(1, (to(value) - from) / (until - from)));
  const bins = new Array(48).fill(0);
  for (const value of scores) bins[Math.min(47, Math.floor(((to(value) - from) / (until - from)) * 48))] += 1;
  const most = Math.max(...bins);
  const parts = [shape("line", { x1: 12, x2: wide - 12, y1: 70, y2: 70, stroke: "var(--muted)", "stroke-width": 1 })];
  bins.forEach((n, i) => {
    const height = (44 * n) / most;
    if (n) parts.push(shape("rect", { x: 12 + step * i + 0.5, width: step - 1, y: 70 - height, height, fill: "var(--normal)", opacity: 0.55 }));
  });
  if (found.threshold !== null) {
    const where = x(found.threshold);
    parts.push(shape("line", { x1: where, x2: where, y1: 18, y2: 76, stroke: "var(--ink)", "stroke-width": 1.5, "stroke-dasharray": "4 3" }));
    parts.push(shape("text", { x: where, y: 90, "text-anchor": "middle", "font-size": 12, fill: "var(--ink)" }, `threshold ${short(found.threshold)}`));
  }
  const place = x(found.score);
  const colour = found.flagged ? "var(--anomaly)" : "var(--normal)";
  const marker = shape("g", { id: "marker", transform: `translate(${place} 0)` });
  marker.append(shape("path", { d: "M0 70 L-8 54 L8 54 Z", fill: colour, stroke: "var(--paper)", "stroke-width": 1 }));
  marker.append(shape("line", { x1: 0, x2: 0, y1: 18, y2: 56, stroke: colour, "stroke-width": 2.5 }));
  const anchor = place > wide - 70 ? "end" : place < 70 ? "start" : "middle";
  marker.append(shape("text", { x: 0, y: 12, "text-anchor": anchor, "font-size": 13, "font-weight": 650, fill: colour }, `yours ${short(found.score)}`));
  parts.push(marker);
  at("scale").replaceChildren(...parts);
  at("scale").setAttribute(
    "aria-label",
    `Score ${short(found.score)}, threshold ${found.threshold === null ? "none" : short(found.threshold)}, normal images from ${short(scores[0])} to ${short(scores[scores.length - 1])}`,
  );
  at("scale-note").textContent = found.folds
    ? `The score is how many of ${found.n_calibration} normal images it is above, each set against by networks that did not learn from it.`
    : `Scores of ${found.n_calibration} normal images that the model did not learn from${log ? ", on a logarithmic scale" : ""}.`;
}

// --- the latent space of a VAE ---

const UNIT = 25; // of the plane, a standard deviation of the prior
let code = null;
let dragging = false;
let decoding = false;
let undecoded = false;

function latent(found) {
  at("latent").hidden = !found;
  if (!found) return;
  code = [...found];
  at("latent-note").textContent =
    code.length > 2
      ? `The first two of ${code.length} dimensions; the others stay where the drawing lies. Circles: one, two and three standard deviations of the prior. Drag the dot.`
      : "Circles: one, two and three standard deviations of the prior. Drag the dot.";
  plane();
  decode();
}

function plane() {
  const [u, v] = [code[0], code.length > 1 ? code[1] : 0];
  const parts = [1, 2, 3].map((r) => shape("circle", { r: r * UNIT, fill: "none", stroke: "var(--muted)", "stroke-opacity": 0.5 }));
  parts.push(shape("line", { x1: -105, x2: 105, y1: 0, y2: 0, stroke: "var(--grid)" }));
  if (code.length > 1) parts.push(shape("line", { y1: -105, y2: 105, x1: 0, x2: 0, stroke: "var(--grid)" }));
  const bound = (value) => Math.max(-104, Math.min(104, value * UNIT));
  parts.push(shape("circle", { cx: bound(u), cy: -bound(v), r: 6, fill: "var(--model)", stroke: "var(--paper)", "stroke-width": 2 }));
  at("plane").replaceChildren(...parts);
  at("plane").setAttribute("aria-valuenow", u.toFixed(2));
  at("plane").setAttribute("aria-valuetext", code.length > 1 ? `${u.toFixed(2)}, ${v.toFixed(2)}` : u.toFixed(2));
}

function move(u, v) {
  code[0] = Math.max(-4, Math.min(4, u));
  if (code.length > 1) code[1] = Math.max(-4, Math.min(4, v));
  plane();
  decode();
}

function drag(event) {
  const box = at("plane").getBoundingClientRect();
  move(
    (((event.clientX - box.left) / box.width) * 220 - 110) / UNIT,
    -(((event.clientY - box.top) / box.height) * 220 - 110) / UNIT,
  );
}
at("plane").addEventListener("pointerdown", (event) => {
  dragging = true;
  at("plane").setPointerCapture(event.pointerId);
  drag(event);
});
at("plane").addEventListener("pointermove", (event) => dragging && drag(event));
at("plane").addEventListener("pointerup", () => (dragging = false));
at("plane").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, 0.2], ArrowDown: [0, -0.2] };
  if (!(event.key in steps)) return;
  event.preventDefault();
  move(code[0] + steps[event.key][0], (code[1] ?? 0) + steps[event.key][1]);
});

async function decode() {
  if (decoding) {
    undecoded = true;
    return;
  }
  decoding = true;
  try {
    at("decoded").src = await engine.decode(at("run").value, code);
  } catch (error) {
    problem(error.message);
  }
  decoding = false;
  if (undecoded) {
    undecoded = false;
    decode();
  }
}

// --- the models there are ---

function chosen() {
  const run = runs.find((one) => one.run === at("run").value);
  const options = ["", ...run.calibrations].map((name) => new Option(name || run.calibration || "the model's own", name));
  at("calibration").replaceChildren(...options);
  at("calibration-label").hidden = !run.calibrations.length;
  const data = run.dataset ? ` of ${run.dataset}` : "";
  const learned = run.normal.length ? `images of ${run.normal.join(", ")}${data}` : "normal images";
  const threshold = run.calibration && !run.calibrations.length ? ` Its threshold is that of ${run.calibration}.` : "";
  at("about").textContent = `This model learned from ${learned} alone.${threshold} Draw, and see at every stroke what it makes of it.`;
  look();
}

export async function start(by) {
  engine = by;
  at("footer").innerHTML = engine.footer;
  at("files").hidden = Boolean(engine.refusal({ name: "" }));
  at("no-files").hidden = !at("files").hidden;
  try {
    runs = await engine.runs();
  } catch (error) {
    problem(error.message);
    return;
  }
  at("run").replaceChildren(...runs.map((one) => new Option(one.run, one.run)));
  at("run-label").hidden = runs.length < 2;
  at("run").addEventListener("change", chosen);
  at("calibration").addEventListener("change", look);
  nothing();
  paint();
  chosen();
}
