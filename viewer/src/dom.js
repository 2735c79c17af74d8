// Elements without HTML strings: everything that comes from outside becomes an attribute's value or a text node.

const SVG = "http://www.w3.org/2000/svg";
const PICTURE = /^data:image\/(jpeg|png|webp);base64,[A-Za-z0-9+/=]*$/;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** An HTML element. A function among the attributes listens to the event of that name. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** An image of a data: URI, or null where there is none. */
export function picture(uri, alt, attributes = {}) {
  if (typeof uri !== "string" || !PICTURE.test(uri)) return null;
  return element("img", { src: uri, alt, decoding: "async", ...attributes });
}

/** The container of that name, marked as ours, or null if the page has none. It is emptied unless told otherwise. */
export function container(id, keep = false) {
  const node = document.getElementById(id);
  node?.classList.add("v");
  if (!keep) node?.replaceChildren();
  return node;
}

/** The value of one of our colours, which differ between dark and light. */
export function colour(node, name) {
  return getComputedStyle(node).getPropertyValue(`--v-${name}`).trim();
}

export function whenSchemeChanges(callback) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
}
