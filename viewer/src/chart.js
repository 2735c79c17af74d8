// A small line chart of uPlot that follows its container's width and the colour scheme.

import uPlot from "uplot";
import { colour, element, whenSchemeChanges } from "./dom.js";
import { short } from "./words.js";

/** Draws y over x. `read` gets the number of the point under the pointer, or null; `before` draws behind the line. */
export function makeChart(parent, { label, x, y, tone, height, points = false, sync, read, before, xWords, summary }) {
  const value = element("output", {});
  const unit = element("div", { class: "v-chart-head" }, element("b", {}, label), value);
  const plot = element("div", { class: "v-plot", role: "img", "aria-label": summary ?? label });
  parent.append(element("div", { class: "v-chart" }, unit, plot));
  const ink = (name) => () => colour(parent, name);
  const axis = { stroke: ink("muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
  const chart = new uPlot(
    {
      width: plot.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: sync && { key: sync } },
      scales: { x: { time: false }, y: { range: widen } },
      axes: [
        { ...axis, grid: { show: false }, values: (_, ticks) => ticks.map(xWords), size: 26 },
        { ...axis, grid: { stroke: ink("line"), width: 1 }, values: (_, ticks) => ticks.map(short), size: 48, space: 26 },
      ],
      series: [{}, { stroke: ink(tone), width: 1.75, points: { show: points, size: 5, fill: ink(tone) } }],
      hooks: {
        drawClear: [(self) => before?.(self)],
        setCursor: [(self) => (value.textContent = read(self.cursor.idx ?? null))],
      },
    },
    [x, y],
    plot,
  );
  value.textContent = read(null);
  new ResizeObserver(() => chart.setSize({ width: plot.clientWidth, height })).observe(plot);
  whenSchemeChanges(() => chart.redraw());
  return chart;
}

/** A flat line gets room too. */
function widen(_, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}
