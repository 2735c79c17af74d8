// What a shape cuts off the mesh, in red.

import { BufferAttribute, BufferGeometry, DoubleSide, Mesh, MeshBasicMaterial } from "three";

export class Cut {
  constructor(stage, faces) {
    this.stage = stage;
    this.faces = faces;
    // In front of the faces that it lies on.
    const options = { color: 0xdc2626, transparent: true, opacity: 0.6, side: DoubleSide, depthWrite: false };
    const nearer = { polygonOffset: true, polygonOffsetFactor: -1, polygonOffsetUnits: -1 };
    const material = new MeshBasicMaterial({ ...options, ...nearer });
    this.parts = faces.parts.map(({ mesh, first, count }) => {
      const geometry = new BufferGeometry();
      geometry.setAttribute("position", mesh.geometry.attributes.position);
      geometry.setIndex(new BufferAttribute(new Uint32Array(3 * count), 1));
      const cut = new Mesh(geometry, material);
      cut.matrixAutoUpdate = false;
      cut.matrix.copy(mesh.matrixWorld);
      cut.frustumCulled = false;
      stage.scene.add(cut);
      return { mesh, first, count, geometry };
    });
  }

  /** outside: for each face 1 if it is cut off. */
  show(outside) {
    for (const { mesh, first, count, geometry } of this.parts) {
      const { index } = mesh.geometry;
      const corners = geometry.index.array;
      let length = 0;
      for (let face = 0; face < count; face++) {
        if (!outside[first + face]) continue;
        for (let i = 3 * face; i < 3 * face + 3; i++) corners[length++] = index ? index.getX(i) : i;
      }
      geometry.setDrawRange(0, length);
      geometry.index.needsUpdate = true;
    }
    this.stage.invalidate();
  }
}
