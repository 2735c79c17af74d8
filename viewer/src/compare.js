// A frame over the mesh, from exactly the frame's camera, with a divider that can be moved.

import { element, picture } from "./dom.js";

export class Compare {
  constructor(stage, parent) {
    this.stage = stage;
    this.camera = null;
    this.slider = element("input", {
      type: "range", min: 0, max: 100, step: 0.5, value: 50, class: "v-split",
      "aria-label": "How much of the frame covers the mesh",
      input: () => this.place(),
    });
    this.divider = element("div", { class: "v-divider", "aria-hidden": "true" }, element("span", {}, "‹ ›"));
    this.box = element("div", { class: "v-compare", hidden: true });
    parent.append(this.box);
    stage.whenDrawn.push(() => this.camera && this.place());
  }

  /** In percent of the picture's width, from the left. */
  get split() {
    return this.camera ? Number(this.slider.value) : null;
  }

  show(camera) {
    this.camera = camera;
    this.box.hidden = !camera;
    this.box.replaceChildren();
    if (!camera) return;
    this.frame = picture(camera.thumb, `Frame ${camera.name}`);
    this.box.append(
      this.frame,
      element("span", { class: "v-tag v-left" }, "Frame"),
      element("span", { class: "v-tag v-right" }, "Mesh"),
      this.slider,
      this.divider,
    );
    this.place();
  }

  /** Over the part of the canvas that the camera's picture fills. */
  place() {
    const { x, y, w, h } = this.stage.pictureBox(this.camera);
    Object.assign(this.box.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
    this.frame.style.clipPath = `inset(0 ${100 - this.split}% 0 0)`;
    this.divider.style.left = `${this.split}%`;
  }
}
