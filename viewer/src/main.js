// Fills the containers of the scene page. Each part stands alone: one that fails leaves the others.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { readPageData } from "./data.js";
import { makeFilmstrip } from "./filmstrip.js";
import { makeHeldOut } from "./held_out.js";
import { makeQualityChart } from "./quality.js";
import { makeRing } from "./ring.js";
import { makeTrainingCharts } from "./training.js";
import { makeViewer } from "./viewer.js";

async function start() {
  const page = readPageData();
  const viewer = await attempt(() => makeViewer(page));
  window.viewerState = () => viewer?.state() ?? null;
  window.viewerPixels = (x, y, z) => viewer?.pixels(x, y, z) ?? null;
  for (const make of [makeFilmstrip, makeQualityChart, makeRing, makeTrainingCharts, makeHeldOut]) {
    await attempt(() => make(page, viewer));
  }
  await new Promise(requestAnimationFrame); // the first picture is drawn
}

async function attempt(make) {
  try {
    return await make();
  } catch (error) {
    console.error(error);
    return null;
  }
}

const parsed = new Promise((resolve) => {
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", resolve, { once: true });
  else resolve();
});
// What the page has brought, such as a still of the mesh, is seen while the mesh is read.
const painted = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
window.viewerState = () => null;
window.viewerReady = parsed.then(painted).then(start);
