// How well the frames cover the surface: a colour for the number of frames that see each place, and what it means.

import { BufferAttribute, DataTexture, DoubleSide, MeshMatcapMaterial, NearestFilter, SRGBColorSpace } from "three";
import { element, svg } from "./dom.js";

// From so many frames on. RdYlBu of ColorBrewer (Brewer 2003), made to be told apart by the colour-blind: warm is what
// fewer frames see than the three that a depth should have, cool is what more see.
const CLASSES = [
  { from: 0, colour: "#d73027", words: "0" },
  { from: 1, colour: "#fc8d59", words: "1" },
  { from: 2, colour: "#fee090", words: "2" },
  { from: 3, colour: "#ffffbf", words: "3" },
  { from: 4, colour: "#e0f3f8", words: "4 to 7" },
  { from: 8, colour: "#91bfdb", words: "8 to 15" },
  { from: 16, colour: "#4575b4", words: "16 or more" },
];
const COUNTS = 256; // that a byte can hold
const SIDE = 64; // pixels of the shading
const DARKEST = 0.5; // linear light where the surface turns away, so that the shape is seen and colours are still known

/** Gives the geometry its counts, a byte a vertex, and returns the material that shows them. */
export function cover(geometry, counts) {
  const places = new Float32Array(2 * counts.length);
  for (let i = 0; i < counts.length; i++) places.set([(counts[i] + 0.5) / COUNTS, 0.5], 2 * i);
  geometry.setAttribute("uv1", new BufferAttribute(places, 2));
  // Counts are interpolated and then coloured, so that a border runs where the count changes.
  const map = new DataTexture(palette(), COUNTS, 1);
  map.colorSpace = SRGBColorSpace;
  map.magFilter = map.minFilter = NearestFilter;
  map.channel = 1;
  map.needsUpdate = true;
  const matcap = new DataTexture(shading(), SIDE, SIDE);
  matcap.needsUpdate = true;
  return new MeshMatcapMaterial({ map, matcap, side: DoubleSide });
}

function palette() {
  const bytes = new Uint8Array(4 * COUNTS);
  for (let count = 0; count < COUNTS; count++) {
    const { colour } = CLASSES.findLast(({ from }) => count >= from);
    const rgb = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
    bytes.set([...rgb, 255], 4 * count);
  }
  return bytes;
}

/** A disc of normals as the eye sees them: 1 in its middle, where the surface faces it. */
function shading() {
  const bytes = new Uint8Array(4 * SIDE * SIDE).fill(255);
  for (let i = 0; i < SIDE * SIDE; i++) {
    const [x, y] = [i % SIDE, Math.floor(i / SIDE)].map((place) => (2 * place + 1) / SIDE - 1);
    bytes.fill(255 * (1 - (1 - DARKEST) * Math.min(1, x * x + y * y)), 4 * i, 4 * i + 3);
  }
  return bytes;
}

export function makeLegend() {
  const items = CLASSES.map(({ colour, words }) => {
    const swatch = svg("svg", { viewBox: "0 0 1 1", "aria-hidden": "true" }, svg("rect", { width: 1, height: 1, fill: colour }));
    return element("li", {}, swatch, words);
  });
  const label = element("span", { class: "v-label" }, "Frames that see the surface");
  return element("div", { class: "v-legend", hidden: true }, label, element("ul", {}, ...items));
}
