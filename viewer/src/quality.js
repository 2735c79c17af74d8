// Sharpness and exposure over time, with the stretches that were rejected and why.

import { makeChart } from "./chart.js";
import { isNumber, list } from "./data.js";
import { colour, container, element } from "./dom.js";
import { moment, seconds, short } from "./words.js";

const MEASURES = [
  ["sharpness", "Sharpness", "blue"],
  ["exposure", "Exposure", "amber"],
];
const TONES = ["red", "violet", "teal", "amber", "blue"]; // of the reasons, in order of appearance

export function makeQualityChart(page) {
  const all = list(page.frames).filter((frame) => frame);
  const timed = all.length > 0 && all.every((frame) => isNumber(frame.time));
  const frames = timed ? [...all].sort((a, b) => place(a, a.time) - place(b, b.time)) : all;
  const measures = MEASURES.filter(([key]) => frames.some((frame) => isNumber(frame[key])));
  const root = measures.length && container("quality-chart");
  if (!root) return;
  const stretches = readStretches(page.rejected);
  const shaded = timed ? stretches.filter(({ left, right }) => isNumber(left) && isNumber(right)) : [];
  const x = frames.map((frame, i) => (timed ? place(frame, frame.time) : i + 1));
  for (const [key, label, tone] of measures) {
    const y = frames.map((frame) => (isNumber(frame[key]) ? frame[key] : null));
    makeChart(root, {
      label, x, y, tone, height: 132, points: frames.length < 150, sync: "quality",
      summary: `${label} of ${frames.length} frames${stretches.length ? ". Rejected stretches are listed below" : ""}`,
      xWords: (tick) => (timed ? `${tick} s` : String(tick)),
      read: (i) => readOut(frames[i], y[i], shaded),
      before: (self) => shade(self, root, shaded),
    });
  }
  if (stretches.length) root.append(legend(stretches));
}

/** Where a time of a clip is if all clips lie end to end; NaN if there is no time. */
function place({ start }, time) {
  return isNumber(time) ? (isNumber(start) ? start : 0) + time : NaN;
}

/** Stretches with a colour for each reason. */
function readStretches(rejected) {
  const tones = new Map();
  return list(rejected).filter((one) => one).map((one) => {
    const words = String(one.reason ?? "rejected");
    if (!tones.has(words)) tones.set(words, TONES[tones.size % TONES.length]);
    return { ...one, reason: words, tone: tones.get(words), left: place(one, one.from), right: place(one, one.to) };
  });
}

function readOut(frame, value, stretches) {
  if (!frame) return "";
  const time = isNumber(frame.time) ? ` at ${moment(frame, frame.time)}` : "";
  const x = place(frame, frame.time);
  const inside = stretches.find(({ left, right }) => x >= left && x <= right);
  const reason = inside?.reason ?? frame.reason;
  return `${value === null ? "–" : short(value)}${time}${reason ? ` · ${reason}` : ""}`;
}

function shade(plot, root, stretches) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const stretch of stretches) {
    const [left, right] = [stretch.left, stretch.right].map((time) => plot.valToPos(time, "x", true));
    const start = Math.max(bbox.left, left);
    const width = Math.max(2, Math.min(bbox.left + bbox.width, right) - start);
    ctx.fillStyle = colour(root, stretch.tone);
    ctx.globalAlpha = 0.2;
    ctx.fillRect(start, bbox.top, width, bbox.height);
  }
  ctx.restore();
}

function legend(stretches) {
  const items = stretches.map((stretch) => {
    const timed = isNumber(stretch.from) && isNumber(stretch.to);
    const words = timed ? `${moment(stretch, stretch.from)} to ${seconds(stretch.to)}: ` : "";
    return element("li", {}, element("i", { class: `v-dot v-tone-${stretch.tone}` }), words + stretch.reason);
  });
  return element("ul", { class: "v-stretches", "aria-label": "Rejected stretches" }, ...items);
}
