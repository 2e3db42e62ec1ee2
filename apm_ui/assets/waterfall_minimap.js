/* The minimap of the waterfall: every span as a thin line in tree order, and a window to drag, zoom and reset. */
(function (root) {
  "use strict";

  const HEIGHT = 44;
  const INSET = 4;
  const EDGE_PX = 7;

  class Minimap {
    /** `changed(view)` is called with the window in ns while the reader drags it. */
    constructor(wf, changed) {
      this.wf = wf;
      this.changed = changed;
      this.element = wf.element("div", "wf-minimap");
      this.canvas = document.createElement("canvas");
      this.shadeLeft = wf.element("i", "wf-shade");
      this.shadeRight = wf.element("i", "wf-shade");
      this.window = wf.element("div", "wf-window");
      this.window.append(wf.element("i", "wf-handle is-left"), wf.element("i", "wf-handle is-right"));
      this.element.append(this.canvas, this.shadeLeft, this.shadeRight, this.window);
      this.element.title = "Drag to move or to pick a range, drag an edge to zoom, double-click for the whole trace";
      this.element.addEventListener("pointerdown", (event) => this.startDrag(event));
      this.element.addEventListener("pointermove", (event) => this.showCursor(event));
      this.element.addEventListener("dblclick", () => changed(wf.full));
    }

    /** Draws all spans; needed for new data, another width or another theme only. */
    drawSpans() {
      const { index, full, layout } = this.wf;
      const width = this.element.clientWidth;
      if (!width || !index) return;
      const ratio = window.devicePixelRatio || 1;
      this.canvas.width = width * ratio;
      this.canvas.height = HEIGHT * ratio;
      const pen = this.canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const style = getComputedStyle(this.element);
      const colors = index.trace.services.map((s) => style.getPropertyValue(s.slot < 10 ? `--svc-${s.slot}` : "--svc-other"));
      const rowStep = Math.min(4, (HEIGHT - 2 * INSET) / index.count);
      const thickness = Math.max(0.75, Math.min(2, rowStep));
      const { start, duration_ns: duration, service } = index.trace;
      const scale = width / (full.to - full.from);
      for (let i = 0; i < index.count; i++) {
        pen.globalAlpha = index.end[i] > i + 1 ? 0.5 : 1;
        pen.fillStyle = colors[service[i]];
        pen.fillRect((start[i] - full.from) * scale, INSET + i * rowStep, Math.max(1, duration[i] * scale), thickness);
      }
      this.drawErrors(pen, style.getPropertyValue("--critical-fill"), scale, rowStep, layout);
      this.element.setAttribute("role", "img");
    }

    drawErrors(pen, color, scale, rowStep) {
      const { errors, index, full } = this.wf;
      pen.globalAlpha = 1;
      pen.fillStyle = color;
      for (const i of errors.slice(0, 2000)) {
        if (index.end[i] > i + 1) continue;
        const x = (index.trace.start[i] + index.trace.duration_ns[i] - full.from) * scale;
        const y = INSET + i * rowStep + 0.5;
        pen.beginPath();
        pen.moveTo(x, y - 3);
        pen.lineTo(x + 3, y);
        pen.lineTo(x, y + 3);
        pen.lineTo(x - 3, y);
        pen.fill();
      }
    }

    /** Puts the window where the view is. */
    drawWindow() {
      const { view, full } = this.wf;
      const percent = (ns) => ((ns - full.from) / (full.to - full.from)) * 100;
      const left = percent(view.from);
      const right = percent(view.to);
      this.window.style.left = `${left}%`;
      this.window.style.width = `${right - left}%`;
      this.shadeLeft.style.cssText = `left:0;width:${left}%`;
      this.shadeRight.style.cssText = `left:${right}%;right:0`;
      this.element.setAttribute("aria-label", `Minimap of ${this.wf.layout.plural(this.wf.index.count, "span")}, ` +
        (this.isWhole() ? "whole trace in view" : `${this.wf.layout.formatDuration(view.to - view.from)} in view`));
    }

    isWhole() {
      const { view, full } = this.wf;
      return view.from <= full.from && view.to >= full.to;
    }

    /** What a press at a place would do: zoom at an edge, move inside, pick a new range elsewhere. */
    modeAt(x) {
      const box = this.window.getBoundingClientRect();
      if (Math.abs(x - box.left) <= EDGE_PX) return "left";
      if (Math.abs(x - box.right) <= EDGE_PX) return "right";
      return x > box.left && x < box.right && !this.isWhole() ? "move" : "pick";
    }

    showCursor(event) {
      const cursors = { left: "ew-resize", right: "ew-resize", move: "grab", pick: "crosshair" };
      this.element.style.cursor = cursors[this.modeAt(event.clientX)];
    }

    timeAt(x) {
      const box = this.element.getBoundingClientRect();
      const { full } = this.wf;
      return full.from + ((x - box.left) / box.width) * (full.to - full.from);
    }

    startDrag(event) {
      if (event.button !== 0) return;
      const mode = this.modeAt(event.clientX);
      const from = this.timeAt(event.clientX);
      const before = { ...this.wf.view };
      const startX = event.clientX;
      const drag = (move) => {
        if (Math.abs(move.clientX - startX) < 3) return;
        this.changed(this.draggedView(mode, before, from, this.timeAt(move.clientX)));
      };
      const stop = () => {
        this.element.removeEventListener("pointermove", drag);
        this.element.removeEventListener("pointerup", stop);
        this.element.removeEventListener("pointercancel", stop);
      };
      this.element.setPointerCapture(event.pointerId);
      this.element.addEventListener("pointermove", drag);
      this.element.addEventListener("pointerup", stop);
      this.element.addEventListener("pointercancel", stop);
      event.preventDefault();
    }

    draggedView(mode, before, from, to) {
      if (mode === "move") return { from: before.from + to - from, to: before.to + to - from };
      if (mode === "left") return { from: Math.min(to, before.to), to: before.to };
      if (mode === "right") return { from: before.from, to: Math.max(to, before.from) };
      return { from: Math.min(from, to), to: Math.max(from, to) };
    }
  }

  root.SpanwiseMinimap = Minimap;
})(window);
