/* The row above the waterfall (find, errors, repeats, services), and its keys. */
(function (root) {
  "use strict";

  class Tools {
    constructor(wf) {
      this.wf = wf;
      const { element } = wf;
      this.element = element("div", "wf-tools");
      this.buildFind();
      this.errors = element("span", "wf-errors");
      this.errorCount = element("span", "wf-error-count");
      this.nextError = this.button("Next", "E", "Next failed span (E), previous with Shift", () => wf.nextError(1));
      this.errors.append(this.errorCount, this.nextError);
      this.repeats = this.button("Collapse repeats", "X", "Show runs of equal spans as one row (X)", () => this.toggleRepeats());
      this.repeats.classList.add("wf-toggle");
      this.legend = element("div", "wf-legend");
      this.legend.setAttribute("aria-label", "Services");
      this.legend.setAttribute("role", "group");
      this.element.append(this.find, this.errors, this.repeats, this.legend);
    }

    buildFind() {
      const { wf } = this;
      const { element } = wf;
      this.find = element("label", "wf-find");
      this.input = element("input");
      this.input.type = "search";
      this.input.placeholder = "Find in this trace";
      this.input.setAttribute("aria-label", "Find spans by name, service or id");
      this.input.autocomplete = "off";
      this.input.spellcheck = false;
      this.count = element("span", "wf-count");
      this.count.setAttribute("role", "status");
      this.find.append(root.spanwiseWaterfallRows.magnifier(), this.input, this.count, element("kbd", "", "/"));
      this.input.addEventListener("input", () => wf.index && wf.find(this.input.value, true));
      this.input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") wf.nextMatch(event.shiftKey ? -1 : 1, false);
        else if (event.key === "Escape") this.leave();
        else return;
        event.preventDefault();
        event.stopPropagation();
      });
    }

    leave() {
      this.input.value = "";
      this.wf.find("", true);
      this.wf.body.focus({ preventScroll: true });
    }

    text() {
      return this.input.value;
    }

    button(text, key, title, act) {
      const button = this.wf.element("button", "wf-button");
      button.type = "button";
      button.title = title;
      button.append(this.wf.element("span", "", text), this.wf.element("kbd", "", key));
      button.addEventListener("click", act);
      return button;
    }

    toggleRepeats() {
      this.wf.choices.collapseRepeats = !this.wf.choices.collapseRepeats;
      this.wf.rebuild();
      this.updateToggle();
    }

    updateToggle() {
      this.repeats.setAttribute("aria-pressed", String(this.wf.choices.collapseRepeats));
    }

    update() {
      const { wf } = this;
      const { trace, runOf } = wf.index;
      this.errors.hidden = !wf.errors.length;
      this.errorCount.textContent = wf.layout.plural(wf.errors.length, "error");
      this.repeats.hidden = !runOf.some((first) => first >= 0);
      this.updateToggle();
      this.legend.replaceChildren(...trace.services.map((service, k) => this.legendEntry(service, k)));
    }

    legendEntry(service, k) {
      const { wf } = this;
      const entry = wf.element("button", "wf-legend-entry");
      const swatch = wf.element("i", "wf-swatch");
      entry.type = "button";
      swatch.style.background = root.spanwiseWaterfallRows.slotColor(service.slot);
      entry.append(swatch, wf.element("span", "", service.name));
      entry.title = `Show ${service.name} alone`;
      entry.setAttribute("aria-pressed", String(wf.isolated === k));
      entry.addEventListener("click", () => {
        wf.isolate(k);
        [...this.legend.children].forEach((other, place) => other.setAttribute("aria-pressed", String(wf.isolated === place)));
      });
      return entry;
    }

    updateMatches() {
      const { wf } = this;
      const place = wf.matches.indexOf(wf.selected) + 1;
      const total = wf.layout.formatCount(wf.matches.length);
      this.count.textContent = !this.input.value.trim() ? "" : !wf.matches.length ? "none" : place ? `${place} of ${total}` : total;
    }
  }

  const KEYS = {
    "/": (wf) => wf.tools.input.focus(),
    n: (wf) => wf.nextMatch(1, false),
    N: (wf) => wf.nextMatch(-1, false),
    e: (wf) => wf.nextError(1),
    E: (wf) => wf.nextError(-1),
    x: (wf) => wf.tools.toggleRepeats(),
    z: (wf) => wf.zoomToSelected(),
    0: (wf) => wf.setView(wf.full),
    j: (wf) => wf.select(Math.min(wf.rows.length - 1, wf.selectedRow + 1), false),
    k: (wf) => wf.select(Math.max(0, wf.selectedRow - 1), false),
    Escape: (wf) => wf.close(),
  };

  const TREE_KEYS = {
    ArrowDown: KEYS.j,
    ArrowUp: KEYS.k,
    ArrowRight: (wf) => openOrEnter(wf),
    ArrowLeft: (wf) => closeOrLeave(wf),
    Enter: (wf) => wf.select(wf.selectedRow, true),
    Home: (wf) => wf.select(0, false),
    End: (wf) => wf.select(wf.rows.length - 1, false),
    PageDown: (wf) => wf.select(Math.min(wf.rows.length - 1, wf.selectedRow + 20), false),
    PageUp: (wf) => wf.select(Math.max(0, wf.selectedRow - 20), false),
  };

  function openOrEnter(wf) {
    if (wf.selectedRow < 0) return;
    const { SPAN } = wf.layout.ROW;
    const span = wf.rows.span[wf.selectedRow];
    const isLeaf = wf.rows.kind[wf.selectedRow] === SPAN && wf.index.end[span] === span + 1;
    if (!wf.toggle(wf.selectedRow, true) && !isLeaf) wf.select(wf.selectedRow + 1, false);
  }

  function closeOrLeave(wf) {
    if (wf.selectedRow < 0 || wf.toggle(wf.selectedRow, false)) return;
    const span = wf.rows.span[wf.selectedRow];
    const run = wf.choices.collapseRepeats ? wf.index.runOf[span] : -1;
    if (run >= 0 && wf.rows.kind[wf.selectedRow] === wf.layout.ROW.SPAN) {
      wf.select(wf.rows.kind.findIndex((kind, row) => kind === wf.layout.ROW.REPEATS && wf.rows.span[row] === run), false);
    } else if (wf.index.parent[span] >= 0) wf.select(wf.rows.rowOf[wf.index.parent[span]], false);
  }

  function isTyping(target) {
    return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
  }

  /** Acts on a key of the waterfall, unless the reader types or another part of the page has it. */
  function handleKey(wf, event) {
    if (!wf.index || !wf.root.isConnected || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const inTree = event.target === wf.body;
    const act = (inTree && TREE_KEYS[event.key]) || KEYS[event.key];
    if (!act) return;
    act(wf);
    event.preventDefault();
  }

  root.SpanwiseWaterfallTools = Tools;
  root.spanwiseWaterfallKeys = handleKey;
})(window);
