// What can be shown around the mesh: sparse points, region, crop and cameras.

import {
  Box3, BoxGeometry, BufferAttribute, BufferGeometry, Color, DoubleSide, EdgesGeometry, Group, LineBasicMaterial,
  LineLoop, LineSegments, Matrix4, Mesh, MeshBasicMaterial, Points, PointsMaterial, Quaternion, SphereGeometry,
  SRGBColorSpace, Vector3,
} from "three";
import { isNumber, list, readBlob } from "./data.js";

// The same colours as in the style sheet, where they mark the buttons.
export const COLOURS = { cameras: 0x3b82f6, heldOut: 0xf59e0b, chosen: 0xec4899, region: 0x10b981, crop: 0xa855f7 };
const CIRCLE = 128; // corners
const NEAR_PIXELS = 16; // how close a click must be to a camera

// ---- Sparse points ----

export function readPoints(data) {
  const bytes = readBlob(data?.blob);
  if (!bytes?.length) return null;
  const xyz = new Float32Array(bytes.buffer, 0, Math.floor(bytes.length / 12) * 3);
  return { xyz, rgb: readBlob(data.colours) };
}

export function drawPoints({ xyz, rgb }) {
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(xyz, 3));
  const coloured = rgb?.length >= xyz.length;
  if (coloured) geometry.setAttribute("color", new BufferAttribute(toLinear(rgb.subarray(0, xyz.length)), 3));
  const color = coloured ? 0xffffff : 0x8a94a6;
  return new Points(geometry, new PointsMaterial({ size: 2.5, sizeAttenuation: false, vertexColors: coloured, color }));
}

/** Colours of photographs (sRGB, bytes) as the numbers that the renderer counts with. */
function toLinear(rgb) {
  const one = new Color();
  const linear = Float32Array.from({ length: 256 }, (_, v) => one.setRGB(v / 255, 0, 0, SRGBColorSpace).r);
  return Float32Array.from(rgb, (byte) => linear[byte]);
}

/** The box of the points without the outermost twentieth on each side, which are often far away and wrong. */
export function trimmedBox({ xyz }) {
  const [low, high] = [0.05, 0.95].map((share) => {
    return [0, 1, 2].map((axis) => {
      const values = Float32Array.from({ length: xyz.length / 3 }, (_, i) => xyz[3 * i + axis]).sort();
      return values[Math.floor(share * (values.length - 1))];
    });
  });
  return new Box3(new Vector3(...low), new Vector3(...high));
}

// ---- Region and crop ----

export function isPlace(place) {
  const center = list(place?.center);
  const size = place?.kind === "box" ? list(place.size) : [place?.radius];
  return center.length === 3 && center.every(isNumber) && size.length > 0 && size.every((x) => isNumber(x) && x > 0);
}

/** A sphere or an oriented box as lines with a breath of colour. */
export function drawPlace(place, color) {
  const group = new Group();
  if (place.kind === "box") drawBox(group, place, color);
  else drawSphere(group, place.radius, color);
  group.position.fromArray(place.center);
  return group;
}

function drawSphere(group, radius, color) {
  const ring = Array.from({ length: CIRCLE }, (_, i) => {
    const angle = (2 * Math.PI * i) / CIRCLE;
    return new Vector3(Math.cos(angle) * radius, Math.sin(angle) * radius, 0);
  });
  const circle = new BufferGeometry().setFromPoints(ring);
  for (const turn of [new Vector3(0, 0, 0), new Vector3(Math.PI / 2, 0, 0), new Vector3(0, Math.PI / 2, 0)]) {
    const line = new LineLoop(circle, new LineBasicMaterial({ color }));
    line.rotation.setFromVector3(turn);
    group.add(line);
  }
  group.add(shade(new SphereGeometry(radius, 48, 32), color));
}

function drawBox(group, { size, rotation }, color) {
  const box = new BoxGeometry(...size);
  group.add(new LineSegments(new EdgesGeometry(box), new LineBasicMaterial({ color })), shade(box, color));
  const r = list(rotation);
  if (r.length !== 9 || !r.every(isNumber)) return;
  const matrix = new Matrix4().set(r[0], r[1], r[2], 0, r[3], r[4], r[5], 0, r[6], r[7], r[8], 0, 0, 0, 0, 1);
  group.quaternion.setFromRotationMatrix(matrix);
}

function shade(geometry, color) {
  const options = { color, transparent: true, opacity: 0.07, side: DoubleSide, depthWrite: false };
  return new Mesh(geometry, new MeshBasicMaterial(options));
}

// ---- Cameras ----

/** Cameras whose numbers can be used, with position and rotation of their own. */
export function readCameras(cameras) {
  return list(cameras).filter(isCamera).map((camera) => {
    const matrix = new Matrix4().set(...camera.matrix);
    const [position, quaternion, scale] = [new Vector3(), new Quaternion(), new Vector3()];
    matrix.decompose(position, quaternion, scale);
    return { ...camera, name: String(camera.name), position, quaternion };
  });
}

function isCamera(camera) {
  const numbers = ["fx", "fy", "cx", "cy", "w", "h"].map((key) => camera?.[key]);
  const matrix = list(camera?.matrix);
  return matrix.length === 16 && [...matrix, ...numbers].every(isNumber) && camera.fx > 0 && camera.fy > 0;
}

/** All cameras as pyramids: their lines in one object, their pictures' planes in another. */
export class Cameras {
  constructor(stage, cameras, size) {
    this.stage = stage;
    this.cameras = cameras;
    this.size = size;
    this.group = new Group();
    this.group.add(...pyramids(cameras, size, (camera) => (camera.held_out ? COLOURS.heldOut : COLOURS.cameras), 0.16));
    this.mark = new Group();
    this.group.add(this.mark);
  }

  choose(camera) {
    this.mark.clear();
    if (camera) this.mark.add(...pyramids([camera], this.size * 1.15, () => COLOURS.chosen, 0.35));
    this.stage.invalidate();
  }

  /** The camera whose pyramid is nearest to a pixel, or null if none is close. */
  pick(x, y) {
    const distances = this.cameras.map((camera) => {
      const ends = [camera.position, ahead(camera, this.size)].map((point) => this.stage.toPixels(point));
      return ends[0] && ends[1] ? distanceToSegment([x, y], ...ends) : Infinity;
    });
    const nearest = distances.indexOf(Math.min(...distances));
    return distances[nearest] < NEAR_PIXELS ? this.cameras[nearest] : null;
  }
}

function ahead({ position, quaternion }, distance) {
  return new Vector3(0, 0, -distance).applyQuaternion(quaternion).add(position);
}

function distanceToSegment([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const t = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/** The four corners of a camera's picture at a depth, clockwise from the upper left. */
function corners({ fx, fy, cx, cy, w, h, position, quaternion }, depth) {
  return [[0, 0], [w, 0], [w, h], [0, h]].map(([x, y]) =>
    new Vector3(((x - cx) / fx) * depth, ((cy - y) / fy) * depth, -depth).applyQuaternion(quaternion).add(position)
  );
}

function pyramids(cameras, size, colourOf, opacity) {
  const [lines, planes, lineColours, planeColours] = [[], [], [], []];
  for (const camera of cameras) {
    const [a, b, c, d] = corners(camera, size);
    const eye = camera.position;
    const segments = [eye, a, eye, b, eye, c, eye, d, a, b, b, c, c, d, d, a];
    const { r, g, b: blue } = new Color(colourOf(camera));
    lines.push(...segments);
    planes.push(a, d, c, a, c, b);
    for (let i = 0; i < segments.length; i++) lineColours.push(r, g, blue);
    for (let i = 0; i < 6; i++) planeColours.push(r, g, blue);
  }
  const options = { vertexColors: true, transparent: true, opacity, side: DoubleSide, depthWrite: false };
  return [
    new LineSegments(coloured(lines, lineColours), new LineBasicMaterial({ vertexColors: true })),
    new Mesh(coloured(planes, planeColours), new MeshBasicMaterial(options)),
  ];
}

function coloured(points, colours) {
  const geometry = new BufferGeometry().setFromPoints(points);
  geometry.setAttribute("color", new BufferAttribute(new Float32Array(colours), 3));
  return geometry;
}
