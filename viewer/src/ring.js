// The cameras from above, around the middle of the region, and the directions from which nobody filmed.

import { isNumber, list } from "./data.js";
import { container, element, svg } from "./dom.js";
import { readCameras } from "./layers.js";
import { counted } from "./words.js";

const INNER = 78; // radii of the ring, in a picture from -120 to 120
const OUTER = 92;
const FURTHEST = 68; // where the camera stands that is furthest away

export function makeRing(page, viewer) {
  const cameras = readCameras(page.cameras);
  const sectors = list(page.ring?.sectors).filter((one) => isNumber(one?.from) && isNumber(one?.to));
  const missing = list(page.ring?.missing).filter((one) => Array.isArray(one) && one.length === 2 && one.every(isNumber));
  const root = (cameras.length || sectors.length || missing.length) && container("camera-ring");
  if (!root) return;
  const words = describe(cameras, missing);
  root.append(
    element("figure", { class: "v-ring" },
      svg("svg", { viewBox: "-120 -120 240 240", role: "img", "aria-label": words },
        ...drawSectors(sectors),
        ...missing.map(([from, to]) => arc(from, to, INNER - 3, OUTER + 3, { class: "v-gap" })),
        ...labels(),
        svg("circle", { r: 3, class: "v-center" }),
        ...drawCameras(cameras, page.region?.center, viewer),
      ),
      element("figcaption", {}, words),
    ),
  );
}

function describe(cameras, missing) {
  const start = `${counted(cameras.length, "camera")} from above`;
  if (!missing.length) return `${start}.`;
  const gaps = missing.map((gap) => gap.map((degrees) => `${Math.round(degrees > 360 ? degrees - 360 : degrees)}°`));
  return `${start}. Missing: ${gaps.map((gap) => gap.join(" to ")).join(", ")}.`;
}

function drawSectors(sectors) {
  const most = Math.max(1, ...sectors.map(({ frames }) => frames || 0));
  return sectors.map(({ from, to, frames }) => {
    const share = (frames || 0) / most;
    const part = arc(from, to, INNER, OUTER, { class: "v-sector", "fill-opacity": frames ? 0.25 + 0.75 * share : 0.06 });
    part.append(svg("title", {}, `${Math.round(from)}° to ${Math.round(to)}°: ${counted(frames || 0, "frame")}`));
    return part;
  });
}

/** Degrees count from the x axis against the clock, as seen from above. SVG's y points down. */
function at(degrees, radius) {
  const angle = (degrees * Math.PI) / 180;
  return `${(Math.cos(angle) * radius).toFixed(2)} ${(-Math.sin(angle) * radius).toFixed(2)}`;
}

function arc(from, to, inner, outer, attributes) {
  const end = to <= from ? to + 360 : to;
  const width = Math.min(end - from, 359.9);
  const steps = [from, from + width / 2, from + width]; // two halves, since one arc cannot be a circle
  const out = steps.map((a) => at(a, outer));
  const back = steps.map((a) => at(a, inner)).reverse();
  const d =
    `M${out[0]}A${outer} ${outer} 0 0 0 ${out[1]}A${outer} ${outer} 0 0 0 ${out[2]}` +
    `L${back[0]}A${inner} ${inner} 0 0 1 ${back[1]}A${inner} ${inner} 0 0 1 ${back[2]}Z`;
  return svg("path", { d, ...attributes });
}

function labels() {
  return [0, 90, 180, 270].map((degrees) => {
    const [x, y] = at(degrees, OUTER + 15).split(" ");
    return svg("text", { x, y, dy: 4, "text-anchor": "middle" }, `${degrees}°`);
  });
}

function drawCameras(cameras, center, viewer) {
  const middle = list(center).length === 3 ? center : meanOf(cameras);
  const places = cameras.map(({ position }) => [position.x - middle[0], position.y - middle[1]]);
  const scale = FURTHEST / (Math.max(...places.map(([x, y]) => Math.hypot(x, y))) || 1);
  return cameras.map((camera, i) => {
    const [x, y] = places[i].map((value) => value * scale);
    const click = () => viewer?.goTo(camera.name);
    const dot = svg("circle", { cx: x, cy: -y, r: 3, class: camera.held_out ? "v-camera v-held" : "v-camera", click });
    dot.append(svg("title", {}, camera.name));
    viewer?.whenChosen.push((name) => dot.classList.toggle("v-chosen", camera.name === name));
    return dot;
  });
}

function meanOf(cameras) {
  return [0, 1].map((axis) => cameras.reduce((sum, one) => sum + one.position.getComponent(axis), 0) / cameras.length);
}
