// How much of the scene is inside a shape.

import { Vector3 } from "three";
import { insideOf } from "./adjust_shape.js";

/** What is counted, prepared once: points, which of them are the subject's, cameras, and the faces of the mesh. */
export class Contents {
  constructor({ points, subject, cameras, group }) {
    this.points = points?.xyz ?? new Float32Array();
    this.subject = subject;
    this.cameras = cameras;
    this.faces = group ? readFaces(group) : null;
  }

  /** x y z of the points of the subject. */
  subjectPoints() {
    if (!this.subject) return new Float32Array();
    return this.points.filter((_, i) => this.subject[Math.floor(i / 3)]);
  }

  count(shape) {
    const inside = insideOf(shape);
    const found = { points: 0, subject: 0, cameras: 0, cut: null };
    const { points, subject, faces } = this;
    const total = { points: points.length / 3, subject: 0, cameras: this.cameras.length };
    for (let i = 0; i < points.length / 3; i++) {
      const is = inside(points[3 * i], points[3 * i + 1], points[3 * i + 2]);
      found.points += is;
      if (subject?.[i]) {
        total.subject += 1;
        found.subject += is;
      }
    }
    for (const { position } of this.cameras) found.cameras += inside(position.x, position.y, position.z);
    if (faces) found.cut = cutOff(faces, inside);
    return { inside: found, total };
  }
}

/** Middle and area of each face, in the world, and which of them belong to which mesh. */
function readFaces(group) {
  const [middles, areas, parts] = [[], [], []];
  const [a, b, c] = [new Vector3(), new Vector3(), new Vector3()];
  group.traverse((mesh) => {
    const { isMesh, userData, geometry, matrixWorld } = mesh;
    if (!isMesh || userData.wire) return;
    const first = areas.length;
    const { index, attributes: { position } } = geometry;
    const corner = (i, to) => to.fromBufferAttribute(position, index ? index.getX(i) : i).applyMatrix4(matrixWorld);
    for (let i = 0; i < (index ?? position).count; i += 3) {
      corner(i, a);
      corner(i + 1, b);
      corner(i + 2, c);
      middles.push((a.x + b.x + c.x) / 3, (a.y + b.y + c.y) / 3, (a.z + b.z + c.z) / 3);
      areas.push(b.sub(a).cross(c.sub(a)).length() / 2);
    }
    parts.push({ mesh, first, count: areas.length - first });
  });
  const outside = new Uint8Array(areas.length);
  const area = areas.reduce((sum, one) => sum + one, 0);
  return { middles: Float32Array.from(middles), areas: Float32Array.from(areas), area, parts, outside };
}

/** The share of the area whose faces have their middle outside; marks these. */
function cutOff({ middles, areas, area, outside }, inside) {
  let cut = 0; // added up by itself: the difference of two large sums is never quite 0
  for (let i = 0; i < areas.length; i++) {
    outside[i] = inside(middles[3 * i], middles[3 * i + 1], middles[3 * i + 2]) ? 0 : 1;
    if (outside[i]) cut += areas[i];
  }
  return area > 0 ? Math.min(1, cut / area) : 0;
}
