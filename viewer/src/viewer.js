// The viewer: the stage, what stands on it, and its buttons.

import { Box3, Sphere, Vector3 } from "three";
import { Compare } from "./compare.js";
import { makeLegend } from "./coverage.js";
import { list } from "./data.js";
import { container, element, picture, svg } from "./dom.js";
import { Cameras, COLOURS, drawPlace, drawPoints, isPlace, readCameras, readPoints, trimmedBox } from "./layers.js";
import { Measure } from "./measure.js";
import { getContext, Stage } from "./stage.js";
import { Surface } from "./surface.js";
import { capital, counted } from "./words.js";

const HELP =
  "Drag turns, two fingers or the right button move. Click first, then the wheel zooms. Keys: arrows turn, with shift " +
  "they move, + and − zoom, 0 resets.";
const LAYERS = [
  ["cameras", "Cameras"],
  ["points", "Sparse points"],
  ["region", "Region"],
  ["crop", "Crop"],
];

/** Fills the container. Null where there is nothing to draw, or no way to. */
export async function makeViewer(page) {
  const parts = [page.meshes, page.cameras].map((part) => list(part).length);
  if (!document.getElementById("viewer") || !(Math.max(...parts) || page.points)) return null;
  const canvas = element("canvas", { tabindex: 0, role: "img", "aria-describedby": "v-help" });
  const context = getContext(canvas);
  if (!context) {
    const words = "The mesh does not turn here, because this browser has no WebGL.";
    container("viewer", true).prepend(element("p", { class: "v-none" }, words));
    return null;
  }
  const viewer = new Viewer(container("viewer"), canvas, context, page);
  await viewer.open();
  return viewer;
}

class Viewer {
  constructor(root, canvas, context, page) {
    this.page = page;
    this.meshes = list(page.meshes).filter((mesh) => mesh?.blob);
    this.cameras = readCameras(page.cameras);
    this.points = readPoints(page.points);
    this.layers = {};
    this.camera = null; // the chosen one
    this.whenChosen = [];
    this.build(root, canvas);
    canvas.setAttribute("aria-label", `${page.scene ?? "Scene"} in three dimensions`);
    this.stage = new Stage(canvas, context);
    this.surface = new Surface(this.stage, this.meshes);
    this.compare = new Compare(this.stage, this.area);
    this.measure = new Measure(this.stage, this.surface, this.overlay, page.unit);
    this.stage.onClick((x, y) => this.click(x, y));
    this.stage.whenLensChanges.push(() => this.onLens());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.printStill();
  }

  // ---- Elements ----

  build(root, canvas) {
    this.overlay = svg("svg", { class: "v-overlay", "aria-hidden": "true" });
    this.still = element("img", { class: "v-still", alt: `A still of ${this.page.scene ?? "the scene"}` });
    this.card = element("div", { class: "v-card", hidden: true, role: "group", "aria-label": "Chosen camera" });
    this.area = element("div", { class: "v-area" }, canvas, this.overlay, this.still);
    this.status = element("p", { class: "v-status", role: "status" });
    this.bar = element("div", { class: "v-bar" });
    this.root = root;
    const front = element("div", { class: "v-front" }, this.area, this.card);
    this.legend = makeLegend();
    root.append(front, this.legend, this.bar, this.status, element("p", { class: "v-help", id: "v-help" }, HELP));
  }

  async open() {
    const failure = await this.showMesh(this.meshes.length - 1);
    this.setBounds();
    this.addLayers();
    this.addButtons();
    if (!this.surface.group) for (const name of ["points", "cameras"]) this.toggleLayer(name, true);
    this.stage.reset(true);
    this.say(failure ?? this.describe());
  }

  /** Null, or in words why there is no mesh. */
  async showMesh(number) {
    try {
      if (number >= 0) await this.surface.show(number);
      return number >= 0 ? null : this.describe();
    } catch (error) {
      return `The mesh cannot be read: ${error.message}`;
    }
  }

  describe() {
    if (this.surface.group) return describeMesh(this.meshes[this.surface.current]);
    if (this.points || this.cameras.length) return "There is no mesh yet. Sparse points and cameras are shown.";
    return "There is nothing that can be shown.";
  }

  say(words) {
    this.status.textContent = words;
  }

  // ---- What stands on the stage ----

  setBounds() {
    const sphere = findBounds(this);
    this.stage.setBounds(sphere.center, sphere.radius || 1);
    const first = this.cameras[0]?.position.clone().sub(sphere.center);
    if (first) this.stage.front = Math.atan2(first.y, first.x);
    this.stage.shown = () => this.shownPoints();
  }

  /** The mesh and the layers that are on, but for the sparse points, some of which are far away. */
  shownPoints() {
    const points = this.surface.sample();
    for (const [name, { object, on }] of Object.entries(this.layers)) {
      if (on && name !== "points") points.push(...cornersOf(new Box3().setFromObject(object)));
    }
    return points;
  }

  addLayers() {
    const { region, crop } = this.page;
    if (this.cameras.length) this.frusta = new Cameras(this.stage, this.cameras, this.frustumSize());
    const objects = {
      cameras: this.frusta?.group,
      points: this.points && drawPoints(this.points),
      region: isPlace(region) && drawPlace(region, COLOURS.region),
      crop: isPlace(crop) && drawPlace(crop, COLOURS.crop),
    };
    for (const [name, object] of Object.entries(objects)) {
      if (!object) continue;
      object.visible = false;
      this.layers[name] = { object, on: false };
      this.stage.scene.add(object);
    }
  }

  /** Smaller if there are many, so that they do not hide each other. */
  frustumSize() {
    const distances = this.cameras.map((camera) => camera.position.distanceTo(this.stage.center)).sort((a, b) => a - b);
    const middle = distances[Math.floor(distances.length / 2)] || this.stage.radius;
    return middle * 0.12 * Math.min(1, Math.max(0.4, Math.sqrt(40 / distances.length)));
  }

  toggleLayer(name, on) {
    const layer = this.layers[name];
    if (!layer) return;
    layer.on = on;
    layer.button?.setAttribute("aria-pressed", on);
    this.showLayers();
  }

  /** Seen through a camera, the pyramids of the cameras would be in the way. */
  showLayers() {
    for (const [name, { object, on }] of Object.entries(this.layers)) {
      object.visible = on && !(name === "cameras" && this.stage.lens);
    }
    this.stage.invalidate();
  }

  // ---- Buttons ----

  addButtons() {
    const groups = [this.modeButtons(), this.layerButtons(), this.toolButtons(), this.milestoneSlider()];
    this.bar.append(...groups.filter(Boolean));
  }

  modeButtons() {
    if (!this.surface.group) return null;
    const choices = this.surface.looks().map(([mode, words]) => {
      const change = () => this.setMode(mode);
      const input = element("input", { type: "radio", name: "v-mode", value: mode, checked: mode === "colours", change });
      return element("label", {}, input, element("span", {}, words));
    });
    const label = element("legend", { class: "v-label" }, "Surface");
    return element("fieldset", { class: "v-choice" }, label, element("div", {}, ...choices));
  }

  setMode(mode) {
    this.surface.setMode(mode);
    this.legend.hidden = mode !== "coverage";
  }

  layerButtons() {
    const buttons = LAYERS.filter(([name]) => this.layers[name]).map(([name, words]) => {
      const click = () => this.toggleLayer(name, !this.layers[name].on);
      const dot = element("i", { class: `v-dot v-${name}` });
      const button = element("button", { type: "button", "data-layer": name, "aria-pressed": "false", click }, dot, words);
      if (name === "cameras" && this.cameras.some((camera) => camera.held_out)) {
        button.append(element("small", {}, element("i", { class: "v-dot v-held" }), "held out"));
      }
      this.layers[name].button = button;
      return button;
    });
    return buttons.length ? group("Show", "v-toggles", ...buttons) : null;
  }

  toolButtons() {
    const button = (tool, words, click) => element("button", { type: "button", "data-tool": tool, click }, words);
    const tools = [];
    if (this.cameras.length) tools.push(button("cameras", "Fly to a camera", () => this.step(1)));
    if (this.surface.group) {
      this.measureButton = button("measure", "Measure", () => this.toggleMeasure(!this.measure.on));
      this.measureButton.setAttribute("aria-pressed", "false");
      tools.push(this.measureButton);
    }
    tools.push(button("reset", "Reset view", () => this.reset()));
    if (document.fullscreenEnabled) tools.push(button("full", "Full screen", () => this.toggleFullScreen()));
    return group("Tools", "v-tools", ...tools);
  }

  milestoneSlider() {
    if (this.meshes.length < 2) return null;
    const last = this.meshes.length - 1;
    const words = element("output", {}, milestone(this.meshes[last]));
    const slider = element("input", {
      type: "range", min: 0, max: last, step: 1, value: last, "aria-label": "Milestone", "data-tool": "milestone",
      "aria-valuetext": milestone(this.meshes[last]),
      input: async () => {
        const mesh = this.meshes[slider.value];
        words.textContent = milestone(mesh);
        slider.setAttribute("aria-valuetext", milestone(mesh));
        this.say((await this.showMesh(Number(slider.value))) ?? this.describe());
      },
    });
    return group("Milestone", "v-milestones", slider, words);
  }

  toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen().catch(() => this.say("The browser does not allow a full screen here."));
  }

  reset() {
    this.choose(null);
    this.toggleMeasure(false);
    this.stage.reset();
    this.say(this.describe());
  }

  // ---- Pointer and keys ----

  click(x, y) {
    if (this.measure.on) {
      this.say(this.measure.click(x, y) ? this.measure.words : "There is no mesh at that point.");
      return;
    }
    const camera = this.layers.cameras?.object.visible && this.frusta.pick(x, y);
    if (camera) this.choose(camera);
  }

  hover(event) {
    if (event.buttons || this.measure.on) return;
    const camera = this.layers.cameras?.object.visible && this.frusta.pick(event.offsetX, event.offsetY);
    this.stage.canvas.classList.toggle("v-pointing", Boolean(camera));
    this.stage.canvas.title = camera ? `Camera ${camera.name}` : "";
  }

  onKey(event) {
    if (event.key === "Escape") {
      if (this.measure.on) this.toggleMeasure(false);
      else this.choose(null);
    } else if (event.key === "Enter" && this.measure.on) {
      event.preventDefault();
      this.click(this.stage.width / 2, this.stage.height / 2);
    }
  }

  toggleMeasure(on) {
    if (!this.measureButton) return;
    if (on) this.compareWith(null);
    this.measure.toggle(on);
    this.measureButton.setAttribute("aria-pressed", on);
    this.say(on ? this.measure.words : this.describe());
  }

  // ---- Cameras ----

  /** Flies to a camera and shows its frame; null leaves it. */
  choose(camera) {
    if (!camera && !this.camera) return;
    this.camera = camera;
    for (const callback of this.whenChosen) callback(camera?.name ?? null);
    this.frusta.choose(camera);
    this.compareWith(null);
    if (!camera) this.stage.orbitFromHere();
    else this.stage.lookThrough(camera);
    this.fillCard();
    if (camera) this.say(`Camera ${camera.name}${camera.held_out ? ", held out of training" : ""}.`);
  }

  /** A camera by its name. Says whether there is one. */
  goTo(name) {
    const camera = this.cameras.find((one) => one.name === name);
    if (!camera) return false;
    this.choose(camera);
    this.area.scrollIntoView({ block: "nearest" });
    return true;
  }

  step(by) {
    const now = this.camera ? this.cameras.indexOf(this.camera) : by > 0 ? -1 : 0;
    this.choose(this.cameras[(now + by + this.cameras.length) % this.cameras.length]);
  }

  fillCard() {
    const { camera, card } = this;
    const focused = card.contains(document.activeElement) && document.activeElement.dataset.camera;
    card.hidden = !camera;
    card.replaceChildren();
    if (!camera) return;
    const frame = picture(camera.thumb, `Frame ${camera.name}`);
    const button = (name, label, click, words = label) =>
      element("button", { type: "button", "data-camera": name, "aria-label": label, title: label, click }, words);
    const buttons = [
      button("previous", "Previous camera", () => this.step(-1), "‹"),
      button("next", "Next camera", () => this.step(1), "›"),
    ];
    if (frame && this.surface.group) {
      this.compareButton = button("compare", "Compare", () => this.compareWith(this.compare.camera ? null : camera));
      this.compareButton.setAttribute("aria-pressed", "false");
      buttons.push(this.compareButton);
    }
    buttons.push(button("close", "Leave this camera", () => this.choose(null), "×"));
    const held = camera.held_out ? element("span", { class: "v-chip" }, "held out") : null;
    card.append(
      ...[frame].filter(Boolean),
      element("p", {}, element("b", {}, camera.name), held),
      element("div", { class: "v-buttons" }, ...buttons),
    );
    if (focused) card.querySelector(`[data-camera="${focused}"]`)?.focus();
  }

  compareWith(camera) {
    const was = this.compare.camera;
    if (!camera && !was) return;
    if (camera) {
      this.toggleMeasure(false);
      this.stage.lookThrough(camera);
      this.say(`The frame ${camera.name} on the left, the mesh from the same camera on the right. Move the divider.`);
    }
    this.compare.show(camera);
    this.area.classList.toggle("v-comparing", Boolean(camera));
    this.compareButton?.setAttribute("aria-pressed", Boolean(camera));
  }

  /** Turning the mesh leaves the camera's view, and so the comparison. */
  onLens() {
    this.showLayers();
    if (!this.stage.lens) this.compareWith(null);
  }

  // ---- Printing, and what tests ask ----

  printStill() {
    addEventListener("beforeprint", () => (this.still.src = this.stage.still()));
  }

  state() {
    const { stage, surface, measure, compare } = this;
    return {
      mode: surface.mode,
      layers: Object.keys(this.layers).filter((name) => this.layers[name].object.visible),
      position: stage.camera.position.toArray(),
      projection: stage.camera.projectionMatrix.toArray(),
      flying: Boolean(stage.flight),
      camera: this.camera?.name ?? null,
      lens: stage.lens?.name ?? null,
      comparing: compare.camera?.name ?? null,
      split: compare.split,
      measuring: measure.on,
      distance: measure.distance,
      milestone: this.meshes[surface.current]?.iteration ?? null,
      frames: stage.frames,
    };
  }

  /** Where a point of the world is on the canvas, for tests. */
  pixels(...xyz) {
    return this.stage.toPixels(new Vector3(...xyz));
  }
}

function group(label, classes, ...children) {
  const name = element("span", { class: "v-label", "aria-hidden": "true" }, label);
  return element("div", { role: "group", "aria-label": label, class: classes }, name, ...children);
}

function cornersOf({ min, max }) {
  const xs = [min.x, max.x];
  return xs.flatMap((x) => [min.y, max.y].flatMap((y) => [min.z, max.z].map((z) => new Vector3(x, y, z))));
}

function milestone(mesh) {
  return mesh.label || counted(mesh.iteration ?? 0, "iteration");
}

function describeMesh({ iteration, faces, label }) {
  const name = label || (iteration != null && counted(iteration, "iteration"));
  const parts = [name, faces != null && counted(faces, "face")];
  return capital(parts.filter(Boolean).join(", "));
}

/** What the first view shows: the mesh, else the region, else most of the points, else the cameras. */
function findBounds({ surface, page, points, cameras }) {
  if (surface.group) return surface.bounds().getBoundingSphere(new Sphere());
  if (isPlace(page.region)) return new Sphere(new Vector3(...page.region.center), page.region.radius);
  const box = points ? trimmedBox(points) : new Box3().setFromPoints(cameras.map((camera) => camera.position));
  return box.isEmpty() ? new Sphere(new Vector3(), 1) : box.getBoundingSphere(new Sphere());
}
