// A distance between two points of the mesh, drawn as SVG over the canvas so that lines and words stay sharp.

import { element, svg } from "./dom.js";
import { length } from "./words.js";

export class Measure {
  constructor(stage, surface, overlay, unit) {
    this.stage = stage;
    this.surface = surface;
    this.overlay = overlay;
    this.unit = unit;
    this.on = false;
    this.points = [];
    this.label = element("output", { class: "v-distance", hidden: true });
    overlay.after(this.label);
    stage.whenDrawn.push(() => this.draw());
  }

  /** In the world's unit, or null until two points are set. */
  get distance() {
    return this.points.length === 2 ? this.points[0].distanceTo(this.points[1]) : null;
  }

  get words() {
    if (this.distance !== null) return `Distance: ${length(this.distance, this.unit)}. Click again to begin a new one.`;
    if (this.points.length) return "Click the second point.";
    return "Click two points of the mesh. With the keyboard: Enter takes the point in the middle.";
  }

  toggle(on) {
    this.on = on;
    this.points = [];
    this.stage.canvas.classList.toggle("v-measuring", on);
    this.stage.invalidate();
  }

  /** Takes the point of the mesh under a pixel. Says whether there is one. */
  click(x, y) {
    const point = this.surface.pick(x, y);
    if (!point) return false;
    this.points = this.points.length === 1 ? [this.points[0], point] : [point];
    this.stage.invalidate();
    return true;
  }

  draw() {
    const pixels = this.points.map((point) => this.stage.toPixels(point));
    const seen = pixels.filter(Boolean);
    const parts = seen.map(([x, y]) => svg("circle", { cx: x, cy: y, r: 5 }));
    if (seen.length === 2) {
      const [[x1, y1], [x2, y2]] = seen;
      parts.unshift(svg("line", { x1, y1, x2, y2, class: "v-halo" }), svg("line", { x1, y1, x2, y2 }));
      this.label.style.left = `${(x1 + x2) / 2}px`;
      this.label.style.top = `${(y1 + y2) / 2}px`;
      this.label.textContent = length(this.distance, this.unit);
    }
    this.label.hidden = seen.length !== 2;
    this.overlay.replaceChildren(...parts, ...(this.on ? this.crosshair() : []));
  }

  /** Where the keyboard takes its points. The style sheet shows it while the canvas has the keyboard. */
  crosshair() {
    const [x, y] = [this.stage.width / 2, this.stage.height / 2];
    return [svg("path", { class: "v-crosshair", d: `M${x - 10} ${y}h20M${x} ${y - 10}v20` })];
  }
}
