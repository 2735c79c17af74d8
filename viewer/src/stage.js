// The canvas: a renderer that draws only when something changed, a camera that orbits, flies, or looks through one of
// the scene's cameras.

import {
  Box3, Color, DirectionalLight, HemisphereLight, Matrix4, PerspectiveCamera, Quaternion, Raycaster, Scene,
  SRGBColorSpace, Vector2, Vector3, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const FIELD_OF_VIEW = 40; // degrees, of the shorter side
const ELEVATION = (25 * Math.PI) / 180; // of the first view
const MARGIN = 1.1; // around what the first view shows
const ASIDE = Math.PI / 6; // of the first view, from where the first camera stands: three sides are seen
const FLIGHT = 700; // milliseconds
const CLICK = 5; // pixels that a pointer may move in a click
const MAX_PIXEL_RATIO = 2; // more is not seen, but drawn
const UP = new Vector3(0, 0, 1);

/** A WebGL context, or null where the browser has none. */
export function getContext(canvas) {
  const options = { antialias: true, alpha: true, powerPreference: "high-performance" };
  return canvas.getContext("webgl2", options);
}

export class Stage {
  constructor(canvas, context) {
    this.canvas = canvas;
    this.renderer = new WebGLRenderer({ canvas, context, antialias: true, alpha: true });
    this.renderer.outputColorSpace = SRGBColorSpace;
    this.renderer.setClearColor(new Color(0), 0); // the background is CSS's
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.01, 100);
    this.camera.up.copy(UP); // before the controls, which read it once
    this.addLights();
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = !reducedMotion();
    this.controls.dampingFactor = 0.12;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", () => this.invalidate());
    this.center = new Vector3();
    this.radius = 1;
    this.front = -Math.PI / 2; // azimuth from which the first view looks, but for ASIDE
    this.shown = () => []; // points that the first view shows
    this.lens = null; // the camera that we look through
    this.flight = null;
    this.frames = 0;
    this.whenDrawn = [];
    this.whenLensChanges = [];
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  /** Bare shape needs light: from above, and from beside the viewer's head. */
  addLights() {
    this.scene.add(new HemisphereLight(0xffffff, 0x8a8f98, 1.5));
    this.scene.children[0].position.copy(UP);
    const lamp = new DirectionalLight(0xffffff, 1.9);
    lamp.position.set(-0.6, 0.8, 1);
    this.camera.add(lamp);
    this.scene.add(this.camera);
  }

  listen() {
    this.canvas.addEventListener("pointerdown", () => this.orbitFromHere(), { capture: true });
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    // The page scrolls under the wheel until somebody has chosen the viewer.
    const wheel = (event) => {
      if (document.activeElement !== this.canvas) event.stopImmediatePropagation();
      else this.orbitFromHere();
    };
    this.canvas.parentElement.addEventListener("wheel", wheel, { capture: true, passive: true });
  }

  /** Calls back with (x, y) in pixels of the canvas when it is clicked, not when it is dragged. */
  onClick(callback) {
    let down = null;
    this.canvas.addEventListener("pointerdown", (event) => (down = event.isPrimary ? event : null));
    this.canvas.addEventListener("pointerup", (event) => {
      if (!down || Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) > CLICK) return;
      const box = this.canvas.getBoundingClientRect();
      callback(event.clientX - box.left, event.clientY - box.top);
    });
  }

  setBounds(center, radius) {
    this.center.copy(center);
    this.radius = radius;
    this.camera.near = radius / 500;
    this.camera.far = radius * 60;
    this.controls.minDistance = radius / 50;
    this.controls.maxDistance = radius * 20;
  }

  // ---- Drawing ----

  invalidate() {
    this.request ??= requestAnimationFrame((now) => this.draw(now));
  }

  draw(now) {
    this.request = null;
    if (this.flight) this.fly(now);
    else if (this.lens) this.setView(this.viewOf(this.lens));
    else this.controls.update();
    this.renderer.render(this.scene, this.camera);
    this.frames += 1;
    for (const callback of this.whenDrawn) callback();
    if (this.flight) this.invalidate();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    if (!clientWidth || !clientHeight) return;
    this.width = clientWidth;
    this.height = clientHeight;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, MAX_PIXEL_RATIO));
    this.renderer.setSize(clientWidth, clientHeight);
    if (!this.lens && !this.flight) this.setLens(this.shorterSide(FIELD_OF_VIEW));
    this.invalidate();
  }

  /** A picture of what is seen now, as a data: URI. */
  still() {
    this.renderer.render(this.scene, this.camera);
    return this.canvas.toDataURL("image/png");
  }

  // ---- Views: a position, a rotation, and the slopes of the picture's four edges ----

  /** The vertical field of view that shows at least `degrees` both ways. */
  shorterSide(degrees) {
    const slope = Math.tan((degrees * Math.PI) / 360);
    return (Math.atan(slope * Math.max(1, this.height / this.width)) * 360) / Math.PI;
  }

  setLens(fov) {
    this.camera.fov = fov;
    this.camera.aspect = this.width / this.height;
    this.camera.updateProjectionMatrix();
  }

  currentView() {
    const p = this.camera.projectionMatrix.elements;
    const slopes = [(p[8] - 1) / p[0], (p[8] + 1) / p[0], (p[9] + 1) / p[5], (p[9] - 1) / p[5]];
    return { position: this.camera.position.clone(), quaternion: this.camera.quaternion.clone(), slopes };
  }

  setView({ position, quaternion, slopes }) {
    this.camera.position.copy(position);
    this.camera.quaternion.copy(quaternion);
    const [left, right, top, bottom] = slopes.map((slope) => slope * this.camera.near);
    this.camera.projectionMatrix.makePerspective(left, right, top, bottom, this.camera.near, this.camera.far);
    this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
    this.camera.updateMatrixWorld();
  }

  /** Where a picture of that camera lies on the canvas: as large as fits, in the middle. */
  pictureBox({ w, h }) {
    const scale = Math.min(this.width / w, this.height / h);
    return { x: (this.width - w * scale) / 2, y: (this.height - h * scale) / 2, w: w * scale, h: h * scale, scale };
  }

  /** Exactly what a camera sees, with the canvas's margins around its picture. */
  viewOf(camera) {
    const { fx, fy, cx, cy, position, quaternion } = camera;
    const { x, y, scale } = this.pictureBox(camera);
    const slopes = [
      (-x / scale - cx) / fx,
      ((this.width - x) / scale - cx) / fx,
      (cy + y / scale) / fy,
      (cy - (this.height - y) / scale) / fy,
    ];
    return { position, quaternion, slopes };
  }

  /** From a little above and aside, with all that is shown in it. */
  homeView() {
    const half = Math.tan((this.shorterSide(FIELD_OF_VIEW) * Math.PI) / 360);
    const wide = (half * this.width) / this.height;
    const points = this.shown();
    const target = points.length ? new Box3().setFromPoints(points).getCenter(new Vector3()) : this.center;
    const azimuth = this.front - ASIDE;
    const flat = Math.cos(ELEVATION);
    const back = new Vector3(Math.cos(azimuth) * flat, Math.sin(azimuth) * flat, Math.sin(ELEVATION));
    const quaternion = new Quaternion().setFromRotationMatrix(new Matrix4().lookAt(back, new Vector3(), UP));
    const distance = distanceToFit(points, target, quaternion, wide / MARGIN, half / MARGIN) || 3 * this.radius;
    const position = target.clone().addScaledVector(back, distance);
    return { position, quaternion, slopes: [-wide, wide, half, -half], target };
  }

  // ---- Moving ----

  start(to, then) {
    this.controls.enabled = false;
    this.flight = { from: this.currentView(), to, then, start: performance.now(), time: reducedMotion() ? 0 : FLIGHT };
    this.invalidate();
  }

  fly(now) {
    const { from, to, then, start, time } = this.flight;
    const t = time ? Math.min(1, Math.max(0, (now - start) / time)) : 1;
    const eased = t * t * (3 - 2 * t);
    this.setView({
      position: from.position.clone().lerp(to.position, eased),
      quaternion: new Quaternion().slerpQuaternions(from.quaternion, to.quaternion, eased),
      slopes: from.slopes.map((slope, i) => slope + (to.slopes[i] - slope) * eased),
    });
    if (t < 1) return;
    this.flight = null;
    then();
  }

  setCamera(camera) {
    this.lens = camera;
    for (const callback of this.whenLensChanges) callback();
  }

  /** Flies to a camera of the scene and looks through it. */
  lookThrough(camera) {
    this.start(this.viewOf(camera), () => {});
    this.setCamera(camera);
  }

  reset(immediately = false) {
    const home = this.homeView();
    const arrive = () => {
      this.setView(home);
      this.controls.target.copy(home.target);
      this.setLens(this.shorterSide(FIELD_OF_VIEW));
      this.controls.enabled = true;
      this.controls.update();
    };
    this.setCamera(null);
    if (immediately) arrive();
    else this.start(home, arrive);
    this.invalidate();
  }

  /** From a camera's picture, or the middle of a flight, back to free orbit around what is in front. */
  orbitFromHere() {
    if (!this.lens && !this.flight) return;
    const { slopes } = this.currentView();
    const ahead = this.camera.getWorldDirection(new Vector3());
    const depth = ahead.dot(this.center.clone().sub(this.camera.position));
    this.flight = null;
    this.controls.target.copy(this.camera.position).addScaledVector(ahead, Math.max(depth, this.radius / 5));
    this.setLens((Math.atan((slopes[2] - slopes[3]) / 2) * 360) / Math.PI);
    this.controls.enabled = true;
    this.controls.update();
    this.setCamera(null);
    this.invalidate();
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const turn = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const zoom = { "+": 1 / 1.15, "=": 1 / 1.15, "-": 1.15 }[event.key];
    if (!turn && !zoom && event.key !== "0") return;
    event.preventDefault();
    if (event.key === "0") return this.reset();
    this.orbitFromHere();
    if (zoom) this.zoom(zoom);
    else if (event.shiftKey) this.pan(...turn);
    else this.turn(...turn);
    this.invalidate();
  }

  turn(right, up) {
    const offset = this.camera.position.clone().sub(this.controls.target);
    const polar = offset.angleTo(UP) - up * 0.08;
    const side = new Vector3().crossVectors(UP, offset).normalize();
    if (polar > 0.05 && polar < Math.PI - 0.05) offset.applyAxisAngle(side, -up * 0.08);
    offset.applyAxisAngle(UP, right * 0.1);
    this.camera.position.copy(this.controls.target).add(offset);
  }

  pan(right, up) {
    const step = this.camera.position.distanceTo(this.controls.target) * 0.05;
    const move = new Vector3(right * step, up * step, 0).applyQuaternion(this.camera.quaternion);
    this.camera.position.add(move);
    this.controls.target.add(move);
  }

  zoom(factor) {
    const offset = this.camera.position.clone().sub(this.controls.target).multiplyScalar(factor);
    offset.clampLength(this.controls.minDistance, this.controls.maxDistance);
    this.camera.position.copy(this.controls.target).add(offset);
  }

  // ---- From the world to pixels and back ----

  /** [x, y] in pixels of the canvas, or null behind the viewer. */
  toPixels(point) {
    const { x, y, z } = point.clone().project(this.camera);
    return z > -1 && z < 1 ? [((x + 1) / 2) * this.width, ((1 - y) / 2) * this.height] : null;
  }

  ray(x, y) {
    const caster = new Raycaster();
    caster.setFromCamera(new Vector2((x / this.width) * 2 - 1, 1 - (y / this.height) * 2), this.camera);
    return caster;
  }
}

/** How far from the target a view must be to hold points between its slopes. */
function distanceToFit(points, target, quaternion, wide, high) {
  const inverse = quaternion.clone().invert();
  return points.reduce((furthest, point) => {
    const { x, y, z } = point.clone().sub(target).applyQuaternion(inverse);
    return Math.max(furthest, z + Math.max(Math.abs(x) / wide, Math.abs(y) / high));
  }, 0);
}

function reducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
