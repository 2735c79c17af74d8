// The mesh, in four looks, or five if it says how many frames see it. Each milestone is decoded when it is first asked for.

import { Box3, DoubleSide, Group, Mesh, MeshBasicMaterial, MeshNormalMaterial, MeshStandardMaterial, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { cover } from "./coverage.js";
import { readBlob } from "./data.js";

export const MODES = [
  ["colours", "Colours"],
  ["shape", "Bare shape"],
  ["wireframe", "Wireframe"],
  ["normals", "Normals"],
  ["coverage", "Coverage"],
];

const CLAY = new MeshStandardMaterial({ color: 0xc9c5bd, roughness: 0.72, metalness: 0, side: DoubleSide });
// Pushed back a little, so that the lines on it are seen.
const BEHIND = new MeshStandardMaterial({
  color: 0xdad7d0, roughness: 0.9, metalness: 0, side: DoubleSide, polygonOffset: true, polygonOffsetFactor: 1,
  polygonOffsetUnits: 1,
});
const OPACITY = 0.6; // of the lines of a mesh of DENSE faces; those of a finer one would run into each other
const DENSE = 10000;
const SAMPLE = 2000; // vertices
const NORMALS = new MeshNormalMaterial({ side: DoubleSide });

export class Surface {
  constructor(stage, meshes) {
    this.stage = stage;
    this.meshes = meshes;
    this.mode = "colours";
    this.loaded = new Map(); // number of the milestone -> promise of its group
    this.current = null; // number of the milestone that is shown
    this.group = null;
  }

  /** Shows a milestone. If several are asked for at once, the last one stays. */
  async show(number) {
    this.wanted = number;
    if (!this.loaded.has(number)) this.loaded.set(number, load(this.meshes[number]));
    const group = await this.loaded.get(number);
    if (this.wanted !== number) return;
    if (this.group) this.stage.scene.remove(this.group);
    this.group = group;
    this.current = number;
    this.stage.scene.add(group);
    this.setMode(this.mode);
  }

  setMode(mode) {
    this.mode = mode;
    const materials = { shape: CLAY, wireframe: BEHIND, normals: NORMALS };
    this.group?.traverse((node) => {
      if (node.userData.wire) node.visible = mode === "wireframe";
      else if (node.isMesh && mode === "coverage") node.material = node.userData.coverage ?? CLAY;
      else if (node.isMesh) node.material = materials[mode] || node.userData.coloured;
    });
    this.stage.invalidate();
  }

  /** Which looks the mesh has. */
  looks() {
    let covered = false;
    this.group?.traverse((node) => (covered ||= Boolean(node.userData.coverage)));
    return MODES.filter(([mode]) => covered || mode !== "coverage");
  }

  bounds() {
    return new Box3().setFromObject(this.group);
  }

  /** Some vertices, evenly out of all: enough to know what a view must hold. */
  sample() {
    const points = [];
    this.group?.traverse(({ isMesh, userData, geometry, matrixWorld }) => {
      if (!isMesh || userData.wire) return;
      const { position } = geometry.attributes;
      const step = Math.ceil(position.count / SAMPLE);
      for (let i = 0; i < position.count; i += step) {
        points.push(new Vector3().fromBufferAttribute(position, i).applyMatrix4(matrixWorld));
      }
    });
    return points;
  }

  /** The point of the mesh under a pixel, or null. */
  pick(x, y) {
    return (this.group && this.stage.ray(x, y).intersectObject(this.group, true)[0]?.point) || null;
  }
}

async function load({ blob, frames }) {
  const bytes = readBlob(blob);
  if (!bytes) throw new Error(`the page has no part ${blob}`);
  const { scene } = await new GLTFLoader().parseAsync(bytes.buffer, "");
  const upright = new Group();
  upright.rotation.x = Math.PI / 2; // glTF's y is up, the world's z is
  upright.add(scene);
  const meshes = [];
  scene.traverse((node) => node.isMesh && meshes.push(node));
  if (!meshes.length) throw new Error("the file has no mesh");
  for (const mesh of meshes) prepare(mesh);
  const counts = readBlob(frames);
  const [{ geometry, userData }] = meshes;
  if (meshes.length === 1 && counts?.length === geometry.attributes.position.count) {
    userData.coverage = cover(geometry, counts);
  }
  upright.updateMatrixWorld(true);
  return upright;
}

function wireOf({ index, attributes }) {
  const faces = (index ?? attributes.position).count / 3;
  const opacity = OPACITY * Math.min(1, Math.max(0.25, Math.sqrt(DENSE / faces)));
  return new MeshBasicMaterial({ color: 0x1d3557, wireframe: true, transparent: true, opacity });
}

/** Colours are the photographs', with their light and shadow: they are shown without light of ours. */
function prepare(mesh) {
  const { map = null, color, vertexColors } = mesh.material;
  mesh.userData.coloured = new MeshBasicMaterial({ map, color, vertexColors, side: DoubleSide });
  if (!mesh.geometry.attributes.normal) mesh.geometry.computeVertexNormals();
  const wire = new Mesh(mesh.geometry, wireOf(mesh.geometry));
  wire.userData.wire = true;
  wire.visible = false;
  wire.raycast = () => {};
  mesh.add(wire);
}
