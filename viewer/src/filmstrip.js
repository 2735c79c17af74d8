// The kept frames in order. A frame whose camera is known flies the viewer there.

import { isNumber, list } from "./data.js";
import { container, element, picture } from "./dom.js";
import { moment, short } from "./words.js";

export function makeFilmstrip(page, viewer) {
  const frames = list(page.frames).filter((frame) => frame);
  const root = frames.length && container("filmstrip");
  if (!root) return;
  const cameras = new Set(list(page.cameras).map((camera) => camera?.name));
  const buttons = frames.map((frame, i) => {
    const posed = cameras.has(frame.name);
    const lost = cameras.size > 0 && !posed;
    const click = () => {
      focusOn(buttons, i);
      viewer?.goTo(frame.name);
    };
    const attributes = { type: "button", "aria-label": describe(frame, lost), tabindex: i ? -1 : 0, click };
    const words = element("span", {}, isNumber(frame.time) ? moment(frame, frame.time) : String(frame.name));
    const image = picture(frame.thumb, "") ?? element("i", { class: "v-blank" });
    return element("button", { ...attributes, class: lost ? "v-lost" : "" }, image, words, lost ? chip("no pose") : null);
  });
  const strip = element("div", { class: "v-strip", role: "toolbar", "aria-label": "Kept frames" }, ...buttons);
  strip.addEventListener("keydown", (event) => move(event, buttons));
  root.append(strip);
  viewer?.whenChosen.push((name) => {
    frames.forEach((frame, i) => buttons[i].toggleAttribute("data-chosen", frame.name === name));
  });
}

function chip(words) {
  return element("em", { class: "v-chip" }, words);
}

function describe(frame, lost) {
  const { name, time, sharpness } = frame;
  const parts = [`Frame ${name}`];
  if (isNumber(time)) parts.push(`at ${moment(frame, time)}`);
  if (isNumber(sharpness)) parts.push(`sharpness ${short(sharpness)}`);
  if (lost) parts.push("no pose was found");
  return parts.join(", ");
}

/** One stop for the tabulator, arrows inside: there may be hundreds of frames. */
function move(event, buttons) {
  const now = buttons.indexOf(document.activeElement);
  const last = buttons.length - 1;
  const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
  if (next === undefined || now < 0) return;
  event.preventDefault();
  focusOn(buttons, Math.min(last, Math.max(0, next)));
}

function focusOn(buttons, number) {
  for (const button of buttons) button.tabIndex = -1;
  buttons[number].tabIndex = 0;
  buttons[number].focus();
}
