/* The waterfall of the trace page: reads the columns, keeps the reader's choices, draws the rows in sight.
   `#trace-waterfall` (components/waterfall.py) says which trace, which revision of it and which span. */
(function () {
  "use strict";

  const ROW_HEIGHT = { wide: 26, narrow: 46 };
  const NAME_HEIGHT = { wide: 26, narrow: 24 };
  const TICK_PX = { wide: 60, narrow: 80 };
  const LAST_TICK_PX = 84;
  const [OVERSCAN, FOLLOW_MS] = [6, 180];
  const PATIENCE_MS = 300;
  const narrowScreen = window.matchMedia("(max-width: 700px)");

  class Waterfall {
    constructor(traceId) {
      this.traceId = traceId;
      this.layout = window.spanwiseWaterfallLayout;
      this.element = window.spanwiseWaterfallRows.element;
      this.choices = { closed: new Set(), openRuns: new Map(), collapseRepeats: true, closedOrphans: false };
      this.selected = -1;
      this.selectedRow = -1;
      this.isolated = -1;
      this.matches = [];
      this.matchSet = new Set();
      this.drawn = new Map();
      this.shownSpan = "";
      this.build();
    }

    build() {
      this.root = this.element("div", "wf");
      this.top = this.element("div", "wf-top");
      this.minimap = new window.SpanwiseMinimap(this, (view) => this.setView(view));
      this.tools = new window.SpanwiseWaterfallTools(this);
      this.top.append(this.tools.element, this.minimap.element);
      this.main = this.element("div", "wf-main");
      this.head = this.element("div", "wf-head");
      this.ruler = this.element("div", "wf-track wf-ruler");
      this.head.append(this.element("div", "wf-name", "Operation"), this.element("div", "wf-duration", "Duration"), this.ruler);
      this.body = this.element("div", "wf-body");
      this.body.tabIndex = 0;
      this.body.setAttribute("role", "tree");
      this.body.setAttribute("aria-label", "Spans of this trace");
      this.body.addEventListener("click", (event) => this.clicked(event));
      this.body.addEventListener("focus", () => {
        if (this.index && this.selectedRow < 0 && this.body.matches(":focus-visible")) this.select(0, false);
      });
      this.grid = this.element("div", "wf-grid");
      this.grid.setAttribute("aria-hidden", "true");
      this.foot = this.element("div", "wf-foot");
      this.main.append(this.head, this.body, this.foot);
      this.root.append(this.top, this.main);
      this.root.classList.add("is-loading");
      this.root.addEventListener("focusin", (event) => (this.focused = event.target));
      this.root.addEventListener("focusout", (event) => setTimeout(() => this.forgetFocus(event.target)));
      new ResizeObserver(() => this.resized()).observe(this.main);
    }

    /** Puts the drawing into the page, and reads the columns when they are not the ones drawn. */
    attach(host) {
      if (host.firstChild !== this.root) {
        const focused = this.focused;
        host.replaceChildren(this.root);
        if (focused && document.activeElement === document.body) focused.focus({ preventScroll: true });
      }
      if (host.dataset.revision !== this.revision) this.read(host.dataset.revision);
      else if ((host.dataset.span || "") !== this.shownSpan) this.showSpan(host.dataset.span || "", false);
    }

    /** A part that lost the focus by being taken out of the page gets it back in `attach`, one that was left does not. */
    forgetFocus(part) {
      if (this.focused === part && this.root.isConnected && document.activeElement !== part) this.focused = null;
    }

    async read(revision) {
      this.revision = revision;
      const patience = setTimeout(() => this.root.classList.add("is-slow"), PATIENCE_MS);
      try {
        const answer = await fetch(`/_spanwise/trace/${this.traceId}`);
        if (!answer.ok) throw new Error((await answer.json()).message);
        const trace = await answer.json();
        if (this.revision === revision) this.show(trace);
      } catch (error) {
        if (this.revision === revision) this.fail(error);
      } finally {
        clearTimeout(patience);
        this.root.classList.remove("is-slow");
      }
    }

    fail(error) {
      this.revision = null;
      if (this.index) return;
      const retry = this.element("button", "button", "Try again");
      retry.addEventListener("click", () => this.attach(document.getElementById("trace-waterfall")));
      const text = this.element("p", "", `The spans could not be read. ${error.message}`);
      this.body.replaceChildren(text, retry);
      this.body.classList.add("is-failed");
      this.root.classList.remove("is-loading");
    }

    show(trace) {
      const place = window.spanwiseWaterfallPlace;
      const before = this.index && place.remember(this);
      this.index = this.layout.indexTrace(trace);
      this.full = { from: 0, to: Math.max(1, trace.duration) };
      this.origin = trace.start[trace.root] || 0;
      this.segments = new Map();
      this.labels = new Map(trace.labels);
      this.events = new Map();
      trace.events.span.forEach((span, k) => {
        if (!this.events.has(span)) this.events.set(span, []);
        this.events.get(span).push({ at: trace.events.at[k], isException: trace.events.is_exception[k] });
      });
      this.errors = [];
      trace.flags.forEach((flags, i) => flags & this.layout.FLAG.ERROR && this.errors.push(i));
      this.root.classList.remove("is-loading");
      this.body.classList.remove("is-failed");
      this.body.replaceChildren(this.grid);
      if (before) place.recall(this, before);
      else this.view = { ...this.full };
      this.tools.update();
      this.find(this.tools.text(), false);
      this.rebuild();
      if (before) place.scrollBack(this, before);
      const host = document.getElementById("trace-waterfall");
      if (host) this.showSpan(host.dataset.span || "", !before);
      this.resized();
    }

    /** Makes the rows anew after a choice changed. */
    rebuild() {
      this.rows = this.layout.buildRows(this.index, this.choices);
      this.selectedRow = this.selected >= 0 ? this.rows.rowOf[this.selected] : -1;
      this.foot.textContent = this.layout.footSentence(this.index, this.rows);
      this.resized();
    }

    resized() {
      if (!this.index || !this.root.isConnected) return;
      const size = narrowScreen.matches ? "narrow" : "wide";
      this.rowHeight = ROW_HEIGHT[size];
      this.nameHeight = NAME_HEIGHT[size];
      this.body.style.height = `${this.rows.length * this.rowHeight}px`;
      this.trackWidth = this.ruler.clientWidth;
      this.maxTicks = Math.max(2, Math.floor(this.trackWidth / TICK_PX[size]));
      if (this.minimapWidth !== this.minimap.element.clientWidth || this.minimapIndex !== this.index) {
        this.minimapWidth = this.minimap.element.clientWidth;
        this.minimapIndex = this.index;
        this.minimap.drawSpans();
      }
      this.redraw();
    }

    /** Draws ruler, gridlines, minimap window and the rows in sight again. */
    redraw() {
      if (!this.index || !this.root.isConnected) return;
      for (const node of this.drawn.values()) node.remove();
      this.drawn.clear();
      this.drawRuler();
      this.minimap.drawWindow();
      this.drawRows();
    }

    drawRuler() {
      const { trace } = this.index;
      const ticks = this.layout.rulerTicks(this.view, this.origin, Math.min(9, this.maxTicks));
      this.ruler.replaceChildren(...ticks.map((tick, k) => {
        const left = this.x(tick.at);
        const label = this.element("span", "wf-tick", tick.label);
        if (left < 16) label.classList.add("is-first");
        else if (left > this.trackWidth - 24) label.classList.add("is-last");
        label.hidden = k > 0 && left > this.trackWidth - 24 && left - this.x(ticks[k - 1].at) < LAST_TICK_PX;
        label.style.left = `${left}px`;
        return label;
      }));
      const lines = ticks.map((tick) => this.gridLine(tick.at, ""));
      const rootEnd = this.origin + trace.duration_ns[trace.root];
      if (rootEnd >= this.view.from && rootEnd <= this.view.to) lines.push(this.gridLine(rootEnd, "is-end"));
      this.grid.replaceChildren(...lines);
    }

    gridLine(at, className) {
      const line = this.element("i", className);
      line.style.left = `${this.x(at)}px`;
      return line;
    }

    /** Draws the rows that came into sight, and drops those that left it. */
    drawRows() {
      if (!this.index || !this.root.isConnected) return;
      const top = this.body.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(-top / this.rowHeight) - OVERSCAN);
      const last = Math.min(this.rows.length, Math.ceil((window.innerHeight - top) / this.rowHeight) + OVERSCAN);
      for (const [row, node] of this.drawn) {
        if (row >= first && row < last) continue;
        node.remove();
        this.drawn.delete(row);
      }
      const fresh = document.createDocumentFragment();
      for (let row = first; row < last; row++) {
        if (this.drawn.has(row)) continue;
        const node = window.spanwiseWaterfallRows.rowElement(this, row);
        this.drawn.set(row, node);
        fresh.append(node);
      }
      this.body.append(fresh);
      this.body.setAttribute("aria-activedescendant", this.drawn.has(this.selectedRow) ? `wf-row-${this.selectedRow}` : "");
    }

    x(ns) {
      return ((ns - this.view.from) / (this.view.to - this.view.from)) * this.trackWidth;
    }

    selfSegments(span) {
      if (!this.segments.has(span)) this.segments.set(span, this.layout.selfSegments(this.index, span));
      return this.segments.get(span);
    }

    previousService(span) {
      const row = this.rows.rowOf[span] - 1;
      return row >= 0 && this.rows.kind[row] !== this.layout.ROW.MISSING_PARENT
        ? this.index.trace.service[this.rows.span[row]] : -1;
    }

    setView(view) {
      this.view = this.layout.clampView(view, this.full);
      this.schedule(() => this.redraw());
    }

    schedule(draw) {
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(draw);
    }

    clicked(event) {
      const node = event.target.closest(".wf-row");
      if (!node) return;
      const row = Number(node.dataset.row);
      const kind = this.rows.kind[row];
      const isBox = event.target.closest(".wf-guides") && node.hasAttribute("aria-expanded");
      if (isBox || kind === this.layout.ROW.MORE || kind === this.layout.ROW.MISSING_PARENT) this.toggle(row);
      else this.select(row, true);
    }

    /** Opens or closes what a row holds; `open` forces one of the two. Says whether anything changed. */
    toggle(row, open) {
      const { ROW } = this.layout;
      const span = this.rows.span[row];
      const { closed, openRuns } = this.choices;
      const kind = this.rows.kind[row];
      const wasOpen = kind === ROW.REPEATS ? openRuns.has(span)
        : kind === ROW.MISSING_PARENT ? !this.choices.closedOrphans
        : kind === ROW.SPAN ? this.index.end[span] === span + 1 || !closed.has(span) : false;
      if (open === wasOpen || (kind === ROW.SPAN && this.index.end[span] === span + 1)) return false;
      if (kind === ROW.MORE) openRuns.set(span, openRuns.get(span) + 1);
      else if (kind === ROW.MISSING_PARENT) this.choices.closedOrphans = wasOpen;
      else if (kind === ROW.REPEATS) wasOpen ? openRuns.delete(span) : openRuns.set(span, 1);
      else wasOpen ? closed.add(span) : closed.delete(span);
      this.rebuild();
      return true;
    }

    isolate(service) {
      this.isolated = this.isolated === service ? -1 : service;
      this.redraw();
    }

    /** Makes a row the selected one; with `open`, or when details are open already, its details follow. */
    select(row, open) {
      if (row < 0 || row >= this.rows.length) return;
      this.selectedRow = row;
      this.selected = this.rows.span[row];
      this.redraw();
      window.spanwiseWaterfallPlace.reveal(this, row);
      this.body.focus({ preventScroll: true });
      clearTimeout(this.following);
      const follow = () => this.setAddress(this.layout.spanId(this.index.trace, this.selected));
      if (open) {
        if (window.spanwise && window.spanwise.pause) window.spanwise.pause();
        follow();
      }
      else if (this.shownSpan) this.following = setTimeout(follow, FOLLOW_MS);
    }

    /** Goes to a span wherever it is: opens what hides it, selects its row. */
    goTo(span) {
      if (span < 0) return;
      this.uncover(span);
      this.select(this.rows.rowOf[span], false);
    }

    uncover(span) {
      const { index, choices } = this;
      if (span >= index.trace.orphans_from) choices.closedOrphans = false;
      for (let at = index.parent[span]; at >= 0; at = index.parent[at]) choices.closed.delete(at);
      const first = index.runOf[span];
      if (choices.collapseRepeats && first >= 0) {
        const pages = Math.ceil((span - first + 1) / this.layout.REPEATS_PAGE);
        choices.openRuns.set(first, Math.max(pages, choices.openRuns.get(first) || 0));
      }
      this.selected = span;
      this.rebuild();
    }

    /** Follows the address: `id` is the span whose details are open, "" for none. */
    showSpan(id, scroll) {
      this.shownSpan = id;
      if (!this.index || !id) return;
      const span = this.layout.spanOfId(this.index.trace, id);
      if (span < 0 || span === this.selected) return;
      if (this.rows.kind[this.rows.rowOf[span]] === this.layout.ROW.SPAN && this.rows.span[this.rows.rowOf[span]] !== span
        || this.index.runOf[span] >= 0) this.uncover(span);
      this.selected = span;
      this.selectedRow = this.rows.rowOf[span];
      this.redraw();
      if (scroll) window.spanwiseWaterfallPlace.reveal(this, this.selectedRow);
    }

    /** Writes the selection into the address without a history entry; the page draws the details. */
    setAddress(spanId) {
      if (spanId === this.shownSpan) return;
      this.shownSpan = spanId;
      const url = new URL(window.location);
      if (spanId) url.searchParams.set("span", spanId);
      else url.searchParams.delete("span");
      window.history.replaceState(window.history.state, "", url);
      window.dispatchEvent(new PopStateEvent("popstate"));
    }

    find(text, jump) {
      this.matches = this.layout.findSpans(this.index.trace, text);
      this.matchSet = new Set(this.matches);
      this.tools.updateMatches();
      if (jump && this.matches.length) this.nextMatch(1, true);
      else if (jump) this.redraw();
    }

    nextMatch(step, fromHere) {
      const present = fromHere ? this.selected - 1 : this.selected;
      this.keepFocus(() => this.goTo(this.layout.nextOf(this.matches, present, step)));
      this.tools.updateMatches();
    }

    nextError(step) {
      this.goTo(this.layout.nextOf(this.errors, this.selected, step));
    }

    keepFocus(act) {
      const focused = document.activeElement;
      act();
      if (this.tools.element.contains(focused)) focused.focus();
    }

    zoomToSelected() {
      if (this.selected < 0) return;
      const { start, duration_ns: duration } = this.index.trace;
      const margin = Math.max(500, duration[this.selected] * 0.08);
      const from = start[this.selected] - margin;
      this.setView({ from, to: start[this.selected] + duration[this.selected] + margin });
    }

    close() {
      if (this.shownSpan) this.setAddress("");
      else if (this.selectedRow >= 0) {
        this.selected = this.selectedRow = -1;
        this.redraw();
      }
    }
  }

  let current = null;

  /** Finds the host after every change of the page and gives it the drawing of its trace. */
  function attach() {
    const host = document.getElementById("trace-waterfall");
    if (!host) return;
    if (!current || current.traceId !== host.dataset.trace) current = new Waterfall(host.dataset.trace);
    current.attach(host);
  }

  function isHostChange(change) {
    return change.target.id === "trace-waterfall" || (change.type === "childList" && !change.target.closest?.(".wf"));
  }

  function start() {
    const observer = new MutationObserver((changes) => changes.some(isHostChange) && attach());
    observer.observe(document.body, { childList: true, subtree: true, attributeFilter: ["data-revision", "data-span", "data-trace"] });
    const theme = new MutationObserver(() => current && current.index && current.root.isConnected && current.minimap.drawSpans());
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    window.addEventListener("scroll", () => current && current.schedule(() => current.drawRows()), { capture: true, passive: true });
    window.addEventListener("resize", () => current && current.resized());
    document.addEventListener("keydown", (event) => current && window.spanwiseWaterfallKeys(current, event));
    attach();
  }

  // The other scripts of the waterfall load after this one.
  window.addEventListener("load", start);
})();
