// Small React components that Python names directly (apm_ui/components/svg.py); no build step.
(function () {
  "use strict";
  const spanwise = (window.spanwise = window.spanwise || {});
  const h = (...args) => window.React.createElement(...args);
  const DRAWABLE = new Set(["g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "title", "defs", "pattern", "clipPath"]);

  function draw(node, index) {
    if (!Array.isArray(node)) return String(node);
    const [tag, attributes, ...children] = node;
    return DRAWABLE.has(tag) ? h(tag, { ...attributes, key: index }, ...children.map(draw)) : null;
  }

  spanwise.Svg = function Svg({ nodes, width, height, label, className }) {
    const spoken = label ? { role: "img", "aria-label": label } : { "aria-hidden": true };
    const drawn = nodes.map(draw);
    if (label) drawn.unshift(h("title", { key: "label" }, label));
    return h("svg", { width, height, viewBox: `0 0 ${width} ${height}`, className, ...spoken }, ...drawn);
  };

  // The value of an <input type="datetime-local"> is local time without a zone.
  function localText(ms) {
    const date = new Date(ms);
    return new Date(ms - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
  }

  spanwise.FreeRange = function FreeRange({ startMs, endMs }) {
    const { useState, useRef } = window.React;
    const [typed, setTyped] = useState(null);
    const form = useRef(null);
    const [start, end] = typed || [localText(startMs), localText(endMs)];
    const startNs = Date.parse(start) * 1e6;
    const isReady = Date.parse(start) < Date.parse(end);
    const apply = () => {
      if (!isReady) return;
      spanwise.setRange(Date.parse(start), Date.parse(end));
      setTyped(null);
    };
    const field = (label, value, change) =>
      h("label", null, h("span", null, label),
        h("input", { type: "datetime-local", step: 1, value, className: "input", onChange: (event) => change(event.target.value) }));
    return h("div", { className: "free-range", ref: form, "data-start": startNs },
      field("From", start, (value) => setTyped([value, end])),
      field("To", end, (value) => setTyped([start, value])),
      isReady ? null : h("p", { className: "input-problem" }, "The range must end after it starts."),
      h("button", { type: "button", className: "button primary", disabled: !isReady, onClick: apply }, "Show this range"));
  };
})();
