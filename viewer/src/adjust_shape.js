// A sphere or an oriented box: what is in it, others made of it, and as numbers in a file.

import { Euler, MathUtils, Matrix3, Matrix4, Quaternion, Vector3 } from "three";
import { isNumber, list } from "./data.js";

export const UPRIGHT = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const OUTLIERS = 0.01; // share of points on each side that may be wrong
const MARGIN = 1.05; // around what a shape is fitted to
const STEPS = 200; // towards the smallest sphere (Badoiu and Clarkson 2003: steps of 1/i)
const ANGLES = 30; // that are tried for a box, of a quarter turn
const DIGITS = 6; // behind the first of a size: a millionth is not seen

/** The shape of {kind, center, radius} or {kind, center, size, rotation}, or null if its numbers cannot be used. */
export function readShape(place) {
  const center = list(place?.center);
  if (center.length !== 3 || !center.every(isNumber)) return null;
  if ((place.kind ?? place.method) !== "box") {
    const { radius } = place;
    return isNumber(radius) && radius > 0 ? { kind: "sphere", center: [...center], radius } : null;
  }
  const size = list(place.size);
  const rotation = list(place.rotation).length === 9 ? place.rotation : UPRIGHT;
  if (size.length !== 3 || !size.every((x) => isNumber(x) && x > 0) || !rotation.every(isNumber)) return null;
  return { kind: "box", center: [...center], size: [...size], rotation: [...rotation] };
}

/** A function (x, y, z) that says whether a point is inside. */
export function insideOf(shape) {
  const [cx, cy, cz] = shape.center;
  if (shape.kind === "sphere") {
    const square = shape.radius ** 2;
    return (x, y, z) => (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 <= square;
  }
  const [hx, hy, hz] = shape.size.map((side) => side / 2);
  const r = shape.rotation;
  return (x, y, z) => {
    const [dx, dy, dz] = [x - cx, y - cy, z - cz];
    return (
      Math.abs(dx * r[0] + dy * r[3] + dz * r[6]) <= hx &&
      Math.abs(dx * r[1] + dy * r[4] + dz * r[7]) <= hy &&
      Math.abs(dx * r[2] + dy * r[5] + dz * r[8]) <= hz
    );
  };
}

/** The smallest sphere round it. */
export function toSphere(shape) {
  if (shape.kind === "sphere") return shape;
  return { kind: "sphere", center: [...shape.center], radius: Math.hypot(...shape.size) / 2 };
}

/** The upright cube round it. */
export function toBox(shape) {
  if (shape.kind === "box") return shape;
  return { kind: "box", center: [...shape.center], size: Array(3).fill(2 * shape.radius), rotation: [...UPRIGHT] };
}

export function toKind(shape, kind) {
  return kind === "box" ? toBox(shape) : toSphere(shape);
}

export function scaled(shape, factor) {
  if (shape.kind === "sphere") return { ...shape, radius: shape.radius * factor };
  return { ...shape, size: shape.size.map((side) => side * factor) };
}

export function cornersOf(shape) {
  if (shape.kind === "sphere") {
    const r = shape.radius;
    return [[r, 0, 0], [0, r, 0], [0, 0, r]].flatMap((axis) =>
      [1, -1].map((sign) => new Vector3(...axis).multiplyScalar(sign).add(new Vector3(...shape.center)))
    );
  }
  const turn = quaternionOf(shape);
  return [-1, 1].flatMap((x) => [-1, 1].flatMap((y) => [-1, 1].map((z) =>
    new Vector3(x, y, z).multiply(new Vector3(...shape.size)).multiplyScalar(0.5).applyQuaternion(turn)
      .add(new Vector3(...shape.center))
  )));
}

/** Whether some of the shape lies outside of a sphere. */
export function reachesOutOf(shape, { center, radius }) {
  const middle = new Vector3(...center);
  if (shape.kind === "sphere") return middle.distanceTo(new Vector3(...shape.center)) + shape.radius > radius * 1.001;
  return cornersOf(shape).some((corner) => corner.distanceTo(middle) > radius * 1.001);
}

// ---- Turned ----

export function quaternionOf({ rotation: r }) {
  if (!r) return new Quaternion();
  const matrix = new Matrix4().set(r[0], r[1], r[2], 0, r[3], r[4], r[5], 0, r[6], r[7], r[8], 0, 0, 0, 0, 1);
  return new Quaternion().setFromRotationMatrix(matrix);
}

export function rotationOf(quaternion) {
  const matrix = new Matrix3().setFromMatrix4(new Matrix4().makeRotationFromQuaternion(quaternion));
  return matrix.transpose().toArray(); // three.js lists columns
}

/** Degrees round x, y and z: first round x, then y, then z, all of the world. */
export function anglesOf(shape) {
  const { x, y, z } = new Euler().setFromQuaternion(quaternionOf(shape), "ZYX");
  return [x, y, z].map(MathUtils.radToDeg);
}

export function rotationFrom(angles) {
  const [x, y, z] = angles.map(MathUtils.degToRad);
  return rotationOf(new Quaternion().setFromEuler(new Euler(x, y, z, "ZYX")));
}

// ---- Fitted to points, an array x y z x y z ... ----

export function fitTo(points, kind) {
  return kind === "box" ? fitBox(points) : fitSphere(points);
}

/** The box that is smallest from above, without the outermost points on each side. */
function fitBox(points) {
  let best = null;
  for (let i = 0; i < ANGLES; i++) {
    const angle = (Math.PI / 2 / ANGLES) * i;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    const across = ends(points, (x, y) => c * x + s * y);
    const along = ends(points, (x, y) => c * y - s * x);
    const area = (across[1] - across[0]) * (along[1] - along[0]);
    if (!best || area < best.area * 0.999) best = { area, across, along, c, s };
  }
  const { across, along, c, s } = best;
  const up = ends(points, (x, y, z) => z);
  const [u, v, w] = [across, along, up].map(([low, high]) => (low + high) / 2);
  const sides = [across, along, up].map(([low, high]) => (high - low) * MARGIN);
  const least = Math.max(...sides) / 100 || 1; // all points in one plane
  return {
    kind: "box",
    center: [c * u - s * v, s * u + c * v, w],
    size: sides.map((side) => Math.max(side, least)),
    rotation: [c, -s, 0, s, c, 0, 0, 0, 1],
  };
}

function ends(points, measure) {
  const values = new Float64Array(points.length / 3);
  for (let i = 0; i < values.length; i++) values[i] = measure(points[3 * i], points[3 * i + 1], points[3 * i + 2]);
  values.sort();
  const out = Math.floor(OUTLIERS * values.length);
  return [values[out], values[values.length - 1 - out]];
}

function fitSphere(points) {
  const box = fitBox(points);
  const near = nearest(points, box.center);
  const center = [...box.center];
  for (let step = 0; step < STEPS; step++) {
    const [far] = farthest(near, center);
    for (let axis = 0; axis < 3; axis++) center[axis] += (near[3 * far + axis] - center[axis]) / (step + 2);
  }
  const radius = farthest(near, center)[1] * MARGIN;
  return { kind: "sphere", center, radius: radius || 1 };
}

function nearest(points, center) {
  const rows = Array.from({ length: points.length / 3 }, (_, i) => i);
  const square = rows.map((i) => squareTo(points, i, center));
  rows.sort((a, b) => square[a] - square[b]);
  const kept = rows.slice(0, Math.max(1, Math.ceil((1 - 2 * OUTLIERS) * rows.length)));
  return Float64Array.from(kept.flatMap((i) => [points[3 * i], points[3 * i + 1], points[3 * i + 2]]));
}

function farthest(points, center) {
  let [far, most] = [0, -1];
  for (let i = 0; i < points.length / 3; i++) {
    const square = squareTo(points, i, center);
    if (square > most) [far, most] = [i, square];
  }
  return [far, Math.sqrt(most)];
}

function squareTo(points, i, [x, y, z]) {
  return (points[3 * i] - x) ** 2 + (points[3 * i + 1] - y) ** 2 + (points[3 * i + 2] - z) ** 2;
}

// ---- As numbers in a file ----

/** Numbers with as many decimals as the shape needs, however far from 0 it is. */
function rounded(numbers, size) {
  const decimals = Math.min(100, Math.max(0, DIGITS - Math.floor(Math.log10(size))));
  return numbers.map((x) => Number(x.toFixed(decimals)) + 0); // no -0
}

const turned = (x) => Number(x.toFixed(8)) + 0;

export function regionOf(shape) {
  const { center, radius } = toSphere(shape);
  const numbers = rounded([...center, radius], radius);
  return { center: numbers.slice(0, 3), radius: numbers[3] };
}

export function cropOf(shape) {
  if (shape.kind === "sphere") return { method: "sphere", ...regionOf(shape) };
  const numbers = rounded([...shape.center, ...shape.size], Math.min(...shape.size));
  return { method: "box", center: numbers.slice(0, 3), size: numbers.slice(3), rotation: shape.rotation.map(turned) };
}
