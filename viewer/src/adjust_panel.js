// The panel beside the viewer: numbers, handles, starting points, counts, and the two buttons that save.

import { anglesOf } from "./adjust_shape.js";
import { element } from "./dom.js";
import { count, short } from "./words.js";

const KINDS = [["sphere", "Sphere"], ["box", "Box"]];
export const MODES = [["translate", "Move"], ["rotate", "Turn"], ["scale", "Size"]];
const HANDLES = " Pull the arrows in the picture. Keys there: m moves, t turns, s sizes.";
const AXES = ["x", "y", "z"];

export function button(name, words, click, others = {}) {
  return element("button", { type: "button", "data-do": name, click, ...others }, words);
}

function choice(name, legend, options, change) {
  const labels = options.map(([value, words]) => {
    const input = element("input", { type: "radio", name, value, change: () => change(value) });
    return element("label", {}, input, element("span", {}, words));
  });
  const title = element("legend", { class: "v-label" }, legend);
  return element("fieldset", { class: "v-choice" }, title, element("div", {}, ...labels));
}

function part(title, ...children) {
  return element("div", { class: "v-part" }, element("h2", {}, title), ...children);
}

export class Panel {
  constructor(root, editor) {
    this.editor = editor;
    this.root = root;
    this.unit = editor.page.unit;
    this.status = element("p", { class: "v-status v-said", role: "status" });
    this.counts = element("table", { class: "v-counts" });
    this.notes = element("div", { class: "v-notes" });
    const text = { readonly: true, rows: 3, spellcheck: "false", "aria-label": "The shape as numbers" };
    this.text = element("textarea", text);
    this.fields = {};
    const parts = [this.shapePart(), this.startPart(), this.countsPart(), this.savePart()];
    root.replaceChildren(...parts, this.status);
  }

  // ---- Shape ----

  shapePart() {
    const { editor } = this;
    this.kinds = choice("v-kind", "Shape", KINDS, (kind) => editor.setKind(kind));
    this.modes = choice("v-handles", "Handles", MODES, (mode) => editor.setMode(mode));
    this.modes.hidden = !editor.handles;
    this.rows = {
      center: this.row("center", "Centre", AXES.map((axis) => `Centre ${axis}`)),
      radius: this.row("radius", "Radius", ["Radius"]),
      size: this.row("size", "Size", AXES.map((axis) => `Size ${axis}`)),
      angles: this.row("angles", "Turned, °", AXES.map((axis) => `Turned round ${axis}, in degrees`)),
    };
    const heads = [" ", ...AXES].map((axis) => element("span", {}, axis));
    const head = element("div", { class: "v-field v-heads", "aria-hidden": "true" }, ...heads);
    const numbers = element("div", { class: "v-numbers" }, head, ...Object.values(this.rows));
    this.undo = button("undo", "Undo", () => editor.undo(), { title: "Ctrl+Z" });
    this.redo = button("redo", "Redo", () => editor.redo(), { title: "Ctrl+Shift+Z" });
    const unit = this.unit ? "Lengths are in metres; z is up." : "Lengths have no known unit; z is up.";
    return part(
      "Shape",
      element("div", { class: "v-row" }, this.kinds, this.modes),
      numbers,
      element("p", { class: "v-help" }, unit, editor.handles ? HANDLES : ""),
      element("div", { class: "v-row" }, this.undo, this.redo),
      element("details", {}, element("summary", {}, "As numbers, to copy"), this.text),
    );
  }

  row(name, words, labels) {
    this.fields[name] = labels.map((label, place) =>
      element("input", {
        type: "number", step: "any", "aria-label": label, "data-field": `${name}${place}`,
        change: (event) => this.editor.type(name, place, event.target.valueAsNumber),
      })
    );
    const group = { class: "v-field", role: "group", "aria-label": words };
    return element("div", group, element("span", {}, words), ...this.fields[name]);
  }

  // ---- Starting points ----

  startPart() {
    const { editor } = this;
    const presets = editor.presets().map(([name, words]) => button(name, words, () => editor.usePreset(name)));
    return part("Start from", element("div", { class: "v-row" }, ...presets), this.otherScenes());
  }

  otherScenes() {
    const { others } = this.editor.page.adjust;
    if (!others.length) return null;
    const options = others.map((name) => element("option", { value: name }, name));
    const list = element("select", { "aria-label": "Another scene", "data-do": "other" }, ...options);
    const copy = (what) => () => this.editor.copy(list.value, what);
    return element(
      "div",
      { class: "v-row" },
      list,
      button("copy-region", "Copy its region", copy("region")),
      button("copy-crop", "Copy its crop", copy("crop")),
    );
  }

  // ---- Counts ----

  countsPart() {
    return part("Inside", this.counts, this.notes);
  }

  // ---- Saving ----

  savePart() {
    const { editor } = this;
    const parts = ["region", "crop"].map((name) => {
      const quiet = { class: "v-quiet" };
      const remove = button(`remove-${name}`, `Remove the saved ${name}`, () => editor.remove(name), quiet);
      this[name] = { words: element("p", { class: "v-help" }), remove };
      const keepAll = button("keep-all", "Save crop: keep all", () => editor.saveKeepAll(), quiet);
      return element(
        "div",
        { class: "v-save" },
        button(`save-${name}`, `Save ${name}`, () => editor.save(name), { class: "v-main" }),
        this[name].words,
        element("div", { class: "v-row" }, name === "crop" ? keepAll : null, remove),
      );
    });
    return part("Save", ...parts);
  }

  // ---- Showing ----

  show(shape, counts) {
    this.check(this.kinds, shape.kind);
    this.check(this.modes, this.editor.mode);
    this.modes.querySelector("[value=rotate]").disabled = shape.kind === "sphere";
    const box = shape.kind === "box";
    this.rows.radius.hidden = box;
    this.rows.size.hidden = this.rows.angles.hidden = !box;
    this.fill("center", shape.center);
    if (!box) this.fill("radius", [shape.radius]);
    if (box) this.fill("size", shape.size);
    if (box) this.fill("angles", anglesOf(shape));
    this.text.value = JSON.stringify(this.editor.numbers());
    this.undo.disabled = !this.editor.canUndo();
    this.redo.disabled = !this.editor.canRedo();
    this.showCounts(counts);
    this.showParts();
  }

  check(fieldset, value) {
    for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === value;
  }

  fill(name, values) {
    const step = this.editor.step(name);
    const digits = Math.max(0, 2 - Math.floor(Math.log10(step)));
    this.fields[name].forEach((field, place) => {
      field.step = step;
      field.value = Number(values[place].toFixed(Math.min(digits, 20)));
    });
  }

  showCounts({ inside, total }) {
    const share = (name) => (total[name] ? `${count(inside[name])} of ${count(total[name])}` : "none");
    const rows = [];
    if (total.subject) rows.push(["Points of the subject", share("subject")]);
    rows.push(["All points", share("points")], ["Cameras", share("cameras")]);
    if (inside.cut == null) rows.push(["Cut off the mesh", "no mesh yet"]);
    else rows.push(["Cut off the mesh (red)", percent(inside.cut)]);
    const cells = ([name, value]) => [element("th", { scope: "row" }, name), element("td", {}, value)];
    this.counts.replaceChildren(element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row)))));
    this.notes.replaceChildren(...this.editor.notes().map((words) => element("p", {}, words)));
  }

  showParts() {
    const { editor } = this;
    for (const name of ["region", "crop"]) {
      this[name].words.textContent = [editor.describeShape(name), editor.describeRun(name)].filter(Boolean).join(" ");
      this[name].remove.hidden = !editor.file[name];
    }
  }

  say(words, failed = false) {
    this.status.textContent = words;
    this.status.classList.toggle("v-failed", failed);
    if (words) this.status.scrollIntoView({ block: "nearest" });
  }
}

export function percent(share) {
  if (share > 0 && share < 0.001) return "less than 0.1 % of its area";
  return `${short(100 * share)} % of its area`;
}

export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
