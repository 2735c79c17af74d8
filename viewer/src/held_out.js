// Views that the training never saw, beside what it makes of them.

import { isNumber, list } from "./data.js";
import { container, element, picture } from "./dom.js";

const PARTS = [
  ["photo", "Photo"],
  ["rendering", "Rendering"],
  ["difference", "Difference"],
];

export function makeHeldOut(page) {
  const views = list(page.held_out).filter((view) => view);
  const root = views.length && container("held-out");
  if (!root) return;
  root.append(...views.map(makeView));
}

function makeView(view) {
  const parts = PARTS.map(([key, words]) => {
    const image = picture(view[key], `${words} of ${view.name}`);
    return image && element("div", {}, image, element("span", {}, words));
  });
  const quality = isNumber(view.psnr) ? `PSNR ${view.psnr.toFixed(1)} dB` : "";
  const caption = element("figcaption", {}, element("b", {}, String(view.name)), element("span", {}, quality));
  return element("figure", {}, element("div", { class: "v-views" }, ...parts.filter(Boolean)), caption);
}
