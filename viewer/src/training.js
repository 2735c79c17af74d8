// The curves of the training, one chart each.

import { makeChart } from "./chart.js";
import { isNumber, list } from "./data.js";
import { container } from "./dom.js";
import { count, short } from "./words.js";

const TONES = ["blue", "teal", "violet", "amber"];

export function makeTrainingCharts(page) {
  const series = list(page.training?.series).map(clean).filter(({ x }) => x.length);
  const root = series.length && container("training-charts");
  if (!root) return;
  series.forEach(({ name, unit, x, y }, i) => {
    const last = y.findLast((value) => value !== null);
    makeChart(root, {
      label: unit ? `${name} (${unit})` : name,
      x, y, tone: TONES[i % TONES.length], height: 170, points: x.length < 60, sync: "training",
      summary: `${name}, ${short(last ?? 0)} at iteration ${count(x.at(-1))}`,
      xWords: (tick) => count(tick),
      read: (point) => (point === null ? readOut(last, x.at(-1)) : readOut(y[point], x[point])),
    });
  });
}

function readOut(value, iteration) {
  return isNumber(value) ? `${short(value)} at ${count(iteration)}` : "";
}

function clean({ name, unit, x, y }) {
  const pairs = list(x).map((at, i) => [at, isNumber(list(y)[i]) ? y[i] : null]).filter(([at]) => isNumber(at));
  return { name: String(name), unit: unit && String(unit), x: pairs.map(([at]) => at), y: pairs.map(([, value]) => value) };
}
