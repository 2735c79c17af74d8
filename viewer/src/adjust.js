// The page on which the region and the crop are set: the viewer of the scene page, a shape in it, and a panel.

import { Vector3 } from "three";
import "./style.css";
import "./adjust.css";
import { Contents } from "./adjust_counts.js";
import { Cut } from "./adjust_cut.js";
import { Handles } from "./adjust_handles.js";
import { list, Panel, percent } from "./adjust_panel.js";
import { ask, readOther, save } from "./adjust_saving.js";
import {
  anglesOf, cornersOf, cropOf, fitTo, reachesOutOf, readShape, regionOf, rotationFrom, scaled, toBox, toKind, toSphere,
  UPRIGHT,
} from "./adjust_shape.js";
import { readBlob, readPageData } from "./data.js";
import { container } from "./dom.js";
import { readCameras, readPoints, trimmedBox } from "./layers.js";
import { makeViewer } from "./viewer.js";
import { count, length } from "./words.js";

const FEW = 10; // points of the subject that are too few to fit to
const LARGER = 1.1;
const KEYS = { m: "translate", t: "rotate", s: "scale" };

class Editor {
  constructor(page, viewer, root) {
    this.page = page;
    this.viewer = viewer;
    this.file = page.adjust.file;
    this.points = viewer?.points ?? readPoints(page.points);
    this.contents = new Contents({
      points: this.points,
      subject: readBlob(page.points?.subject),
      cameras: viewer?.cameras ?? readCameras(page.cameras),
      group: viewer?.surface.group,
    });
    this.region = readShape(page.region);
    this.crop = readShape(page.crop);
    this.automatic = page.adjust.cropMethod === "auto"; // its ball only says where the subject is looked for
    this.mode = "translate";
    this.history = [this.first()];
    this.place = 0; // in the history
    this.handles = viewer && new Handles(viewer, (shape, done) => (done ? this.commit(shape) : this.preview(shape)));
    this.cut = viewer && this.contents.faces && new Cut(viewer.stage, this.contents.faces);
    this.panel = new Panel(root, this);
    addEventListener("keydown", (event) => this.onKey(event));
    this.handles?.setMode(this.mode);
    this.show();
    if (viewer) this.frame();
  }

  /** With a mesh the crop that was set by hand, if there is one; else the region. What was saved last comes first. */
  first() {
    const crop = readShape(this.file.crop) ?? (this.automatic ? null : this.crop);
    const region = readShape(this.file.region) ?? this.region;
    return (this.contents.faces && crop) || region || crop || { kind: "sphere", center: [0, 0, 0], radius: 1 };
  }

  /** The first view holds the shape and what lies in it. */
  frame() {
    const { stage } = this.viewer;
    stage.shown = () => [...this.viewer.shownPoints(), ...cornersOf(this.shape)];
    this.viewer.toggleLayer("points", true);
    stage.reset(true);
  }

  // ---- The shape and its history ----

  get shape() {
    return this.live ?? this.history[this.place];
  }

  preview(shape) {
    this.live = shape;
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.showCounts();
    });
  }

  commit(shape) {
    this.live = null;
    if (JSON.stringify(shape) !== JSON.stringify(this.history[this.place])) {
      this.history.splice(this.place + 1, Infinity, shape);
      this.place += 1;
    }
    this.show();
  }

  show() {
    this.handles?.show(this.shape);
    this.showCounts();
  }

  showCounts() {
    this.panel.show(this.shape, this.count());
    this.cut?.show(this.contents.faces.outside);
  }

  canUndo() {
    return this.place > 0;
  }

  canRedo() {
    return this.place < this.history.length - 1;
  }

  undo() {
    if (this.canUndo()) this.go(this.place - 1);
  }

  redo() {
    if (this.canRedo()) this.go(this.place + 1);
  }

  go(place) {
    this.live = null;
    this.place = place;
    if (this.shape.kind === "sphere" && this.mode === "rotate") this.setMode("translate");
    this.show();
  }

  setKind(kind) {
    if (kind === "sphere" && this.mode === "rotate") this.setMode("translate");
    this.commit(toKind(this.shape, kind));
  }

  setMode(mode) {
    this.mode = mode;
    this.handles?.setMode(mode);
    this.panel.check(this.panel.modes, mode);
  }

  /** A number that was typed. What is none, or no length, is put back. */
  type(name, place, value) {
    const { shape } = this;
    const usable = Number.isFinite(value) && (value > 0 || !["radius", "size"].includes(name));
    if (!usable) {
      this.panel.say(["radius", "size"].includes(name) ? "Type a number above 0." : "Type a number.", true);
      return this.show();
    }
    this.panel.say("");
    const changed = (values) => values.map((old, i) => (i === place ? value : old));
    if (name === "radius") this.commit({ ...shape, radius: value });
    else if (name === "angles") this.commit({ ...shape, rotation: rotationFrom(changed(anglesOf(shape))) });
    else this.commit({ ...shape, [name]: changed(shape[name]) });
  }

  /** By how much an arrow key changes a number: a hundredth of the region, as 1, 2 or 5 with zeros. */
  step(name) {
    if (name === "angles") return 1;
    const size = (this.region?.radius ?? this.viewer?.stage.radius ?? 1) / 50;
    const power = 10 ** Math.floor(Math.log10(size));
    return Number(([5, 2, 1].find((x) => x * power <= size) * power).toPrecision(1));
  }

  // ---- Starting points ----

  presets() {
    const { contents, points } = this;
    return [
      ["fit", "Fit to the subject", true],
      ["use-region", "Region in use", this.region],
      ["use-crop", this.automatic ? "Ball round the subject" : "Crop in use", this.crop],
      ["fit-mesh", "Whole mesh", contents.faces],
      ["fit-points", "Most points", points],
      ["larger", "10 % larger", true],
      ["smaller", "10 % smaller", true],
      ["upright", "Upright box", true],
    ].filter(([, , there]) => there);
  }

  usePreset(name) {
    const { shape, contents } = this;
    const made = {
      fit: () => this.fitToSubject(),
      "use-region": () => this.region,
      "use-crop": () => this.crop,
      "fit-mesh": () => fitTo(contents.faces.middles, shape.kind),
      "fit-points": () => fitTo(within(this.points), shape.kind),
      larger: () => scaled(shape, LARGER),
      smaller: () => scaled(shape, 1 / LARGER),
      upright: () => ({ ...toBox(shape), rotation: [...UPRIGHT] }),
    }[name]();
    if (made.kind === "sphere" && this.mode === "rotate") this.setMode("translate");
    this.panel.say("");
    this.commit(made);
  }

  /** Its points; of a plain one, which has few, the mesh; before there is one, most of all points, or the region. */
  fitToSubject() {
    const { kind } = this.shape;
    const subject = this.contents.subjectPoints();
    if (subject.length >= 3 * FEW) return fitTo(subject, kind);
    if (this.contents.faces) return fitTo(this.contents.faces.middles, kind);
    if (this.points) return fitTo(within(this.points), kind);
    return toKind(this.region ?? this.shape, kind);
  }

  async copy(name, what) {
    const { status, content } = await readOther(name);
    const shape = status === 200 ? readShape(content[what]) : null;
    if (shape) {
      this.commit(shape);
      this.panel.say(`This is the ${what} of ${name}. Its numbers are in the world of that scene.`);
    } else {
      this.panel.say(status === 200 ? `${name} has no ${what} with numbers.` : content.error, true);
    }
  }

  // ---- Words ----

  count(shape = this.shape) {
    return this.contents.count(shape);
  }

  numbers() {
    return this.shape.kind === "box" ? cropOf(this.shape) : regionOf(this.shape);
  }

  notes() {
    const words = [];
    if (this.contents.faces && this.page.adjust.cropMethod !== "none") {
      words.push("This mesh was cropped when it was made. What was cut off then is not counted.");
    }
    if (this.region && reachesOutOf(this.shape, this.region)) {
      words.push("A part of this shape is outside of the region in use, where nothing was learnt.");
    }
    return words;
  }

  describeShape(part) {
    if (part === "crop" || this.shape.kind === "sphere") return "";
    return `It is the smallest sphere round the box, of radius ${length(toSphere(this.shape).radius, this.page.unit)}.`;
  }

  describeRun(part) {
    const { stages, iterations, elsewhere } = this.page.adjust;
    const names = stages[part].map((stage) => (stage === "train" ? `train (${count(iterations)} iterations)` : stage));
    const run = `The next run makes ${list(names)} again.`;
    const free = part === "crop" ? " Nothing is trained." : "";
    const work = part === "crop" ? "the mesh" : "the training";
    const cost = ` The results are in a bucket, so ${work} may run as a job on a rented machine, which costs.`;
    return run + free + (elsewhere ? cost : "");
  }

  /** What a shape takes away, in sentences. */
  describeCut(shape) {
    const { inside, total } = this.count(shape);
    const words = [];
    if (inside.cut > 0) words.push(`It cuts off the mesh: ${percent(inside.cut)}.`);
    const kind = total.subject ? "subject" : "points";
    const lost = total[kind] - inside[kind];
    const points = total.subject ? "points of the subject" : "points";
    if (lost) words.push(`${count(lost)} of ${count(total[kind])} ${points} are outside.`);
    return words;
  }

  // ---- Saving ----

  save(part) {
    const region = part === "region";
    const shape = region ? toSphere(this.shape) : this.shape;
    const sentences = this.describeCut(shape);
    if (region && this.file.addOn) {
      sentences.push(`${this.file.path} was saved by Blender’s add-on. This region takes the place of that one.`);
    }
    return this.store(part, region ? regionOf(shape) : cropOf(shape), sentences);
  }

  saveKeepAll() {
    return this.store("crop", { method: "none" }, []);
  }

  remove(part) {
    return this.store(part, null, []);
  }

  async store(part, value, sentences) {
    const verb = value ? "Save" : "Remove";
    if (this.page.adjust.elsewhere || sentences.length) {
      const words = [...sentences, this.describeRun(part)];
      const yes = await ask(this.panel.root, `${verb} this ${part}?`, words, `${verb} ${part}`);
      if (!yes) return this.panel.say("Nothing was saved.");
    }
    let answer = await save(part, value, this.file.version);
    if (answer.status === 409) answer = await this.saveOver(part, value, answer);
    if (!answer) return this.panel.say("Nothing was saved.");
    if (answer.status !== 200) return this.panel.say(answer.content.error, true);
    this.file = answer.content.file;
    this.panel.showParts();
    const { path } = this.file;
    const done = value ? `Saved: the ${part} is in ${path}.` : `Removed: ${path} has no ${part} any more.`;
    return this.panel.say(`${done} ${this.describeRun(part)}`);
  }

  /** The file is another one than this page knows. */
  async saveOver(part, value, { content }) {
    const there = content.file[part];
    const words = [
      `${content.file.path} was changed since this page was opened.`,
      there ? `Its ${part} is ${JSON.stringify(there)}.` : `It has no ${part} now.`,
      `If you save over it, the rest of the file stays as it is now.`,
    ];
    if (!(await ask(this.panel.root, "Save over a newer file?", words, "Save over it"))) return null;
    return save(part, value, content.file.version);
  }

  // ---- Keys ----

  onKey(event) {
    const typing = event.target.matches?.("input[type=number], textarea, select");
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !typing) {
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) this.redo();
      else this.undo();
    } else if (event.target === this.viewer?.stage.canvas && KEYS[event.key]) {
      if (event.key !== "t" || this.shape.kind === "box") this.setMode(KEYS[event.key]);
    }
  }

  state() {
    return { shape: this.shape, ...this.count(), mode: this.mode, place: this.place, file: this.file };
  }
}

/** The points within the box that leaves the outermost out. */
function within(points) {
  const box = trimmedBox(points);
  const inside = [];
  for (let i = 0; i < points.xyz.length; i += 3) {
    const [x, y, z] = points.xyz.subarray(i, i + 3);
    if (box.containsPoint(new Vector3(x, y, z))) inside.push(x, y, z);
  }
  return inside.length ? inside : points.xyz;
}

async function start() {
  const page = readPageData();
  const viewer = await makeViewer(page);
  const root = container("adjust");
  const editor = new Editor(page, viewer, root);
  Object.assign(window, {
    viewerState: () => viewer?.state() ?? null,
    viewerPixels: (x, y, z) => viewer?.pixels(x, y, z) ?? null,
    adjustState: () => editor.state(),
    adjustTip: (axis) => editor.handles?.tip(axis) ?? null,
  });
  await new Promise(requestAnimationFrame);
}

window.adjustReady = start();
