// The shape on the stage, with handles that move, turn and stretch it.

import { Vector3 } from "three";
import { TransformControls } from "three/addons/controls/TransformControls.js";
import { quaternionOf, rotationOf } from "./adjust_shape.js";
import { COLOURS, drawPlace } from "./layers.js";

const UNIT = { sphere: { radius: 1, center: [0, 0, 0] }, box: { kind: "box", size: [1, 1, 1], center: [0, 0, 0] } };
const SIZES = { mouse: 1, finger: 1.4 };
const AXES = "XYZ";
const LEAST = 1e-4; // of a side, in radii of the stage

export class Handles {
  /** onChange(shape, done): done when the pointer is let go. */
  constructor(viewer, onChange) {
    this.stage = viewer.stage;
    this.onChange = onChange;
    this.controls = new TransformControls(this.stage.camera, this.stage.canvas);
    this.controls.size = matchMedia("(pointer: coarse)").matches ? SIZES.finger : SIZES.mouse;
    this.stage.scene.add(this.controls.getHelper());
    this.controls.addEventListener("change", () => this.stage.invalidate());
    this.controls.addEventListener("objectChange", () => this.moved());
    this.controls.addEventListener("mouseUp", () => this.onChange(this.shape, true));
    this.controls.addEventListener("dragging-changed", ({ value }) => (this.stage.controls.enabled = !value));
    // A click on a handle is none on the camera behind it.
    const click = viewer.click.bind(viewer);
    viewer.click = (x, y) => this.controls.axis || click(x, y);
  }

  show(shape) {
    this.shape = shape;
    if (this.kind !== shape.kind) {
      if (this.object) this.stage.scene.remove(this.object);
      this.kind = shape.kind;
      this.object = drawPlace(UNIT[shape.kind], COLOURS.chosen);
      this.stage.scene.add(this.object);
      this.controls.attach(this.object);
    }
    this.object.position.fromArray(shape.center);
    this.object.quaternion.copy(quaternionOf(shape));
    if (shape.kind === "box") this.object.scale.fromArray(shape.size);
    else this.object.scale.setScalar(shape.radius);
    this.object.updateMatrixWorld();
    this.stage.invalidate();
  }

  /** translate, rotate or scale */
  setMode(mode) {
    this.controls.setMode(mode);
    this.controls.setSpace(mode === "scale" ? "local" : "world");
  }

  moved() {
    const least = LEAST * this.stage.radius;
    const { position, quaternion, scale } = this.object;
    const center = position.toArray();
    const sides = scale.toArray().map((side) => Math.max(least, Math.abs(side)));
    if (this.kind === "box") this.shape = { kind: "box", center, size: sides, rotation: rotationOf(quaternion) };
    else this.shape = { kind: "sphere", center, radius: sides[Math.max(0, AXES.indexOf(this.controls.axis?.[0]))] };
    if (this.kind === "sphere") scale.setScalar(this.shape.radius);
    this.onChange(this.shape, false);
  }

  /** Where the end of a handle is on the canvas, for tests: [x, y] of the arrow along an axis. */
  tip(axis) {
    const picker = this.controls.getHelper().getObjectByName(axis);
    const origin = this.object.position.clone();
    const step = new Vector3(...{ X: [1, 0, 0], Y: [0, 1, 0], Z: [0, 0, 1] }[axis]);
    if (this.controls.space === "local") step.applyQuaternion(this.object.quaternion);
    const distance = this.stage.camera.position.distanceTo(origin);
    const slope = Math.min(1.9 * Math.tan((Math.PI * this.stage.camera.fov) / 360), 7);
    const length = ((distance * slope * this.controls.size) / 4) * 0.5; // as TransformControls draws them
    return picker && this.stage.toPixels(origin.addScaledVector(step, length));
  }
}
