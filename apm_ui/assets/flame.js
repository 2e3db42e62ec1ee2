// Flame graphs (apm_ui/components/flame_graph.py): a click widens a bar, arrow keys walk, a line says what a bar is.
(function () {
  "use strict";
  const level = (bar) => Number(bar.getAttribute("aria-level"));
  const barOf = (event) => (event.target instanceof Element ? event.target.closest(".flame-bar") : null);

  function tell(bar) {
    const detail = bar.closest(".flame-graph")?.querySelector(".flame-detail");
    if (detail && detail.textContent !== bar.dataset.detail) detail.textContent = bar.dataset.detail;
  }

  function widen(bar) {
    const drawing = bar.parentElement;
    for (const [from, to] of [["--x", "--zoom-x"], ["--w", "--zoom-w"]]) drawing.style.setProperty(to, bar.style.getPropertyValue(from));
    if (level(bar) > 1 && window.spanwise?.pause) window.spanwise.pause();
  }

  // Bars lie in the page callers first, so the nearest bar on the way that is not deeper is the one beside.
  function beside(bar, step, wanted) {
    for (let other = bar[step]; other; other = other[step]) {
      if (level(other) === wanted) return other;
      if (level(other) < wanted) return null;
    }
    return null;
  }

  const WAYS = {
    ArrowDown: (bar) => beside(bar, "nextElementSibling", level(bar) + 1),
    ArrowUp: (bar) => beside(bar, "previousElementSibling", level(bar) - 1),
    ArrowRight: (bar) => beside(bar, "nextElementSibling", level(bar)),
    ArrowLeft: (bar) => beside(bar, "previousElementSibling", level(bar)),
    Home: (bar) => bar.parentElement.firstElementChild,
  };

  function focus(bar) {
    for (const other of bar.parentElement.children) other.tabIndex = other === bar ? 0 : -1;
    bar.focus();
  }

  document.addEventListener("click", (event) => {
    const bar = barOf(event);
    if (!bar) return;
    widen(bar);
    focus(bar);
  });
  document.addEventListener("pointerover", (event) => {
    const bar = barOf(event);
    if (bar) tell(bar);
  });
  document.addEventListener("focusin", (event) => {
    const bar = barOf(event);
    if (bar) tell(bar);
  });
  document.addEventListener("keydown", (event) => {
    const bar = barOf(event);
    if (!bar || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") widen(bar);
    else if (event.key === "Escape") widen(bar.parentElement.firstElementChild);
    else if (!WAYS[event.key]) return;
    else {
      const next = WAYS[event.key](bar);
      if (next) focus(next);
    }
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
})();
