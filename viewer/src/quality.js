// Sharpness and exposure over time, with the stretches that were rejected and why.

import { makeChart } from "./chart.js";
import { isNumber, list } from "./data.js";
import { colour, container, element } from "./dom.js";
import { seconds, short } from "./words.js";

const MEASURES = [
  ["sharpness", "Sharpness", "blue"],
  ["exposure", "Exposure", "amber"],
];
const TONES = ["red", "violet", "teal", "amber", "blue"]; // of the reasons, in order of appearance

export function makeQualityChart(page) {
  const all = list(page.frames).filter((frame) => frame);
  const timed = all.length > 0 && all.every((frame) => isNumber(frame.time));
  const frames = timed ? [...all].sort((a, b) => a.time - b.time) : all;
  const measures = MEASURES.filter(([key]) => frames.some((frame) => isNumber(frame[key])));
  const root = measures.length && container("quality-chart");
  if (!root) return;
  const stretches = timed ? readStretches(page.rejected) : [];
  const x = frames.map((frame, i) => (timed ? frame.time : i + 1));
  for (const [key, label, tone] of measures) {
    const y = frames.map((frame) => (isNumber(frame[key]) ? frame[key] : null));
    makeChart(root, {
      label, x, y, tone, height: 132, points: frames.length < 150, sync: "quality",
      summary: `${label} of ${frames.length} frames${stretches.length ? ". Rejected stretches are listed below" : ""}`,
      xWords: (tick) => (timed ? `${tick} s` : String(tick)),
      read: (i) => readOut(frames[i], y[i], stretches),
      before: (self) => shade(self, root, stretches),
    });
  }
  if (stretches.length) root.append(legend(stretches));
}

/** Stretches with a colour for each reason. */
function readStretches(rejected) {
  const tones = new Map();
  return list(rejected).filter((one) => isNumber(one?.from) && isNumber(one?.to)).map(({ from, to, reason }) => {
    const words = String(reason ?? "rejected");
    if (!tones.has(words)) tones.set(words, TONES[tones.size % TONES.length]);
    return { from, to, reason: words, tone: tones.get(words) };
  });
}

function readOut(frame, value, stretches) {
  if (!frame) return "";
  const time = isNumber(frame.time) ? ` at ${seconds(frame.time)}` : "";
  const inside = stretches.find(({ from, to }) => frame.time >= from && frame.time <= to);
  const reason = inside?.reason ?? (frame.kept === false ? frame.reason || "not kept" : null);
  return `${value === null ? "–" : short(value)}${time}${reason ? ` · ${reason}` : ""}`;
}

function shade(plot, root, stretches) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const { from, to, tone } of stretches) {
    const [left, right] = [from, to].map((time) => plot.valToPos(time, "x", true));
    const start = Math.max(bbox.left, left);
    const width = Math.max(2, Math.min(bbox.left + bbox.width, right) - start);
    ctx.fillStyle = colour(root, tone);
    ctx.globalAlpha = 0.2;
    ctx.fillRect(start, bbox.top, width, bbox.height);
  }
  ctx.restore();
}

function legend(stretches) {
  const items = stretches.map(({ from, to, reason, tone }) =>
    element("li", {}, element("i", { class: `v-dot v-tone-${tone}` }), `${seconds(from)} to ${seconds(to)}: ${reason}`)
  );
  return element("ul", { class: "v-stretches", "aria-label": "Rejected stretches" }, ...items);
}
