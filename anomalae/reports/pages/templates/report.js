"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const stored = $("#data");
  if (!stored) return;
  const data = JSON.parse(stored.textContent);
  const groups = data.groups;
  const labelled = groups.every((group) => group.anomalous !== null);
  const n = (kind) => groups.reduce((sum, g) => sum + (g.anomalous === kind ? g.scores.length : 0), 0);
  const nNormal = n(labelled ? false : null), nAnomalous = n(true);

  // --- numbers: as Python writes them, ties to even

  const percent = (share) => {
    const value = 100 * share;
    let tenths = value * 10;
    const tie = tenths % 1 === 0.5 && (value * 4) % 1 === 0;
    if (tie) { tenths = Math.floor(tenths); tenths += tenths % 2; }
    return (tie ? tenths / 10 : value).toFixed(1) + "%";
  };
  const short = (value) => String(Number(value.toPrecision(5)));
  const flagging = (threshold) => (threshold === -Infinity ? "flagging every image" : `flagging scores above ${short(threshold)}`);
  const of = (count, total) => `${count.toLocaleString("en")} of ${total.toLocaleString("en")}`;

  // --- how many scores of a group are above a threshold

  const above = (scores, threshold) => {
    let low = 0, high = scores.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (scores[middle] > threshold) high = middle; else low = middle + 1;
    }
    return scores.length - low;
  };
  const count = (threshold, kind) =>
    groups.reduce((sum, g) => sum + (g.anomalous === kind ? above(g.scores, threshold) : 0), 0);

  // --- curves: a point for every distinct threshold, flagging nothing first

  const points = [];
  if (labelled && nNormal && nAnomalous) {
    const merged = groups.flatMap((g) => g.scores.map((score) => [score, g.anomalous])).sort((a, b) => b[0] - a[0]);
    let fp = 0, tp = 0;
    points.push({ fpr: 0, tpr: 0, precision: 1, threshold: merged[0][0] });
    merged.forEach(([score, anomalous], i) => {
      if (anomalous) tp += 1; else fp += 1;
      const next = i + 1 < merged.length ? merged[i + 1][0] : -Infinity;
      if (next !== score) {
        points.push({ fpr: fp / nNormal, tpr: tp / nAnomalous, precision: tp / (tp + fp), threshold: next });
      }
    });
  }

  // --- drawing on the figures

  const NS = "http://www.w3.org/2000/svg";
  const make = (name, attributes, parent) => {
    const element = document.createElementNS(NS, name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    parent.appendChild(element);
    return element;
  };
  const panelsOf = (name) => {
    const svg = $(`[data-figure="${name}"] svg`);
    if (!svg || !data.figures[name]) return [];
    const { width, height } = svg.viewBox.baseVal;
    return data.figures[name].map((frame) => {
      const [left, top, wide, tall] = [frame.box[0] * width, frame.box[1] * height, frame.box[2] * width, frame.box[3] * height];
      const scale = frame.log ? Math.log : (value) => value;
      const way = (value, ends) => (scale(value) - scale(ends[0])) / (scale(ends[1]) - scale(ends[0]));
      const up = (value) => (value - frame.y[0]) / (frame.y[1] - frame.y[0]);
      return {
        svg, left, top, wide, tall,
        x: (value) => left + wide * way(value, frame.x),
        y: (value) => top + tall * (1 - up(value)),
        holds: (x, y) => x >= left - 1 && x <= left + wide + 1 && y >= top - 1 && y <= top + tall + 1,
      };
    });
  };
  const place = (mark, panel, x, y) => {
    const px = panel.x(x), py = panel.y(y), there = Number.isFinite(px) && Number.isFinite(py);
    mark.setAttribute("visibility", there && panel.holds(px, py) ? "visible" : "hidden");
    if (there) { mark.setAttribute("cx", px); mark.setAttribute("cy", py); }
  };
  const coordinates = { roc: (p) => [p.fpr, p.tpr], pr: (p) => [p.tpr, p.precision] };
  const live = {};
  ["roc", "pr"].forEach((name) => {
    live[name] = panelsOf(name).map((panel) => [panel, make("circle", { r: 4.5, class: "live live-point", visibility: "hidden" }, panel.svg)]);
  });
  const lines = panelsOf("scores").map((panel) => [panel, make("line", { class: "live live-line", visibility: "hidden" }, panel.svg)]);

  // --- judging again

  let now = data.threshold;
  const last = data.stops.length - 1;
  const slider = $("#threshold"), reset = $("[data-reset]");
  const show = (key, text) => all(`[data-live="${key}"]`).forEach((element) => { element.textContent = text; });
  const stop = (threshold) => {
    const found = data.stops.findIndex((value) => value >= threshold);
    return found < 0 ? last : found;
  };

  const judge = (threshold, moved) => {
    now = threshold;
    const none = threshold === null;
    const at = none ? Infinity : threshold;
    const falseAlarms = count(at, labelled ? false : null), detected = count(at, true);
    show("threshold", none ? "none" : short(threshold));
    const judged = !(none && labelled);  // a run without a threshold has no rates; of scored images none was flagged
    const rate = (found, total) => (judged && total ? percent(found / total) : "–");
    show("false-alarms", rate(falseAlarms, nNormal));
    show("false-alarm-count", judged ? of(falseAlarms, nNormal) : "");
    show("detected", rate(detected, nAnomalous));
    show("detected-count", judged ? of(detected, nAnomalous) : "");
    show("flagged", rate(falseAlarms, nNormal));
    show("flagged-count", of(falseAlarms, nNormal));
    all("[data-group]").forEach((cell) => {
      const { scores } = groups[Number(cell.dataset.group)];
      cell.textContent = rate(above(scores, at), scores.length);
    });
    all("[data-score]").forEach((element) => {
      const flagged = Number(element.dataset.score) > at;
      element.classList.toggle("flagged", flagged);
      all("[data-mark]", element).forEach((mark) => { mark.textContent = flagged ? "flagged" : "not flagged"; });
    });
    const point = { fpr: falseAlarms / nNormal, tpr: detected / nAnomalous, precision: detected / (detected + falseAlarms) };
    const hidden = none || !moved;
    ["roc", "pr"].forEach((name) => live[name].forEach(([panel, mark]) => {
      if (hidden) mark.setAttribute("visibility", "hidden"); else place(mark, panel, ...coordinates[name](point));
    }));
    lines.forEach(([panel, line]) => {
      const x = panel.x(threshold), inside = !hidden && x >= panel.left && x <= panel.left + panel.wide;
      line.setAttribute("visibility", inside ? "visible" : "hidden");
      if (inside) Object.entries({ x1: x, x2: x, y1: panel.top, y2: panel.top + panel.tall }).forEach(([k, v]) => line.setAttribute(k, v));
    });
    slider.value = none ? last : stop(threshold);
    const words = !judged ? "no image can be flagged" : labelled
      ? `${rate(falseAlarms, nNormal)} false alarms${nAnomalous ? `, ${rate(detected, nAnomalous)} detected` : ""}`
      : `${of(falseAlarms, nNormal)} flagged`;
    slider.setAttribute("aria-valuetext", `${none ? "none" : short(threshold)}: ${words}`);
    slider.dataset.threshold = String(threshold);
    reset.disabled = threshold === data.threshold;
  };

  slider.addEventListener("input", () => judge(data.stops[Number(slider.value)], true));
  reset.addEventListener("click", () => { judge(data.threshold, false); slider.focus(); });
  $("[data-tuner]").hidden = false;
  judge(data.threshold, false);

  // on paper is the threshold that tiles and figures have too
  let before = now;
  addEventListener("beforeprint", () => { before = now; judge(data.threshold, false); });
  addEventListener("afterprint", () => judge(before, before !== data.threshold));

  // --- reading points off a curve

  const readers = {
    roc: (p) => `${percent(p.fpr)} false alarms (FPR), ${percent(p.tpr)} detected (TPR), ${flagging(p.threshold)}`,
    pr: (p) => `${percent(p.tpr)} recall, ${percent(p.precision)} precision, ${flagging(p.threshold)}`,
  };
  all("[data-reads]").forEach((drawing) => {
    const name = drawing.dataset.reads, panels = panelsOf(name), at = coordinates[name];
    if (!panels.length || !points.length) return;
    const output = $(`[data-readout="${name}"]`);
    const marks = panels.map((panel) => [panel, make("circle", { r: 3.5, class: "live at", visibility: "hidden" }, panel.svg)]);
    let here = 0;
    const read = (i) => {
      here = Math.max(0, Math.min(points.length - 1, i));
      const point = points[here];
      marks.forEach(([panel, mark]) => place(mark, panel, ...at(point)));
      output.textContent = readers[name](point);
      output.dataset.point = JSON.stringify({ ...point, threshold: String(point.threshold) });
      drawing.setAttribute("aria-valuenow", here);
      drawing.setAttribute("aria-valuetext", output.textContent);
    };
    const nearest = (event) => {
      const box = panels[0].svg.getBoundingClientRect();
      const zoom = panels[0].svg.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * zoom, (event.clientY - box.top) * zoom];
      const panel = panels.slice(1).find((one) => one.holds(x, y)) || panels[0];
      let found = 0, least = Infinity;
      points.forEach((point, i) => {
        const [px, py] = at(point);
        const distance = (panel.x(px) - x) ** 2 + (panel.y(py) - y) ** 2;
        if (distance < least) { least = distance; found = i; }
      });
      return found;
    };
    output.closest("[hidden]").hidden = false;
    Object.entries({
      tabindex: 0, role: "slider", "aria-label": `Point of the ${name === "roc" ? "ROC" : "precision-recall"} curve`,
      "aria-valuemin": 0, "aria-valuemax": points.length - 1, "aria-valuenow": 0, "aria-valuetext": "arrow keys move along the curve",
    }).forEach(([key, value]) => drawing.setAttribute(key, value));
    $("svg", drawing).setAttribute("aria-hidden", "true");
    drawing.addEventListener("pointermove", (event) => read(nearest(event)));
    drawing.addEventListener("click", (event) => { read(nearest(event)); take(); });
    const take = () => judge(Math.max(points[here].threshold, data.stops[0]), true);  // the first stop flags every image
    const step = Math.max(1, Math.round(points.length / 200));
    const moves = { ArrowRight: step, ArrowUp: step, ArrowLeft: -step, ArrowDown: -step, PageUp: 10 * step, PageDown: -10 * step };
    drawing.addEventListener("focus", () => { if (!output.dataset.point) read(points.findIndex((p) => p.threshold <= (now ?? Infinity))); });
    drawing.addEventListener("keydown", (event) => {
      if (event.key in moves) read(here + (event.shiftKey ? Math.sign(moves[event.key]) : moves[event.key]));
      else if (event.key === "Home") read(0);
      else if (event.key === "End") read(points.length - 1);
      else if (event.key === "Enter") take();
      else return;
      event.preventDefault();
    });
  });

  // --- pictures, large

  const dialog = $("#large"), cards = all("button.card");
  if (!dialog) return;
  let shown = 0;
  const open = (i) => {
    shown = (i + cards.length) % cards.length;
    const card = cards[shown], pictures = all("img", card);
    all("img", dialog).forEach((image, k) => { image.src = pictures[k].src; image.alt = pictures[k].alt; });
    $("#large-title").textContent = card.dataset.name;
    const parts = all(".what, [data-mark], .numbers span", card).map((part) => part.textContent.trim());
    $(".large-text", dialog).textContent = parts.filter((part) => !card.dataset.name.endsWith(part)).join(" · ");
    if (!dialog.open) dialog.showModal();
  };
  cards.forEach((card, i) => card.addEventListener("click", () => open(i)));
  all("[data-move]", dialog).forEach((button) => button.addEventListener("click", () => open(shown + Number(button.dataset.move))));
  $("[data-close]", dialog).addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => cards[shown].focus());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") open(shown + 1);
    if (event.key === "ArrowLeft") open(shown - 1);
  });
})();
