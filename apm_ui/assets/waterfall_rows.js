/* Draws one row of the waterfall: tree guides, name, duration, bar. Telemetry only ever becomes textContent. */
(function (root) {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const INDENT = 14;
  const DEEPEST_GUIDE = 12;
  const LABEL_FLIP = 0.74;
  const TAGS = [
    ["ORPHAN", "orphan", "Its parent has not arrived"],
    ["UNFINISHED", "unfinished", "It has not ended, as far as is known"],
    ["NEGATIVE", "ends early", "It ends before it starts; drawn with no duration"],
    ["SKEW", "skew", "It starts before its parent: the clocks of the two hosts differ"],
    ["ASYNC", "async", "Its parent did not wait for it"],
    ["CYCLE", "cycle", "The parents of these spans form a circle; it is opened here"],
    ["UNTIMED", "no usable time", "Its times are missing or in another unit"],
  ];

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function shape(tag, attributes) {
    const node = document.createElementNS(SVG, tag);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    return node;
  }

  function diamond(label) {
    const svg = shape("svg", { viewBox: "0 0 12 12", class: "wf-diamond", role: "img", "aria-label": label });
    svg.append(shape("path", { d: "M6 .6L11.4 6 6 11.4.6 6z" }));
    return svg;
  }

  function magnifier() {
    const svg = shape("svg", { viewBox: "0 0 16 16", class: "wf-magnifier", "aria-hidden": "true" });
    svg.append(shape("circle", { cx: 7, cy: 7, r: 4.2 }), shape("path", { d: "M10.2 10.2l3.3 3.3" }));
    return svg;
  }

  /** The column of guides and the box: `depth` levels, a line where an ancestor has more children below. */
  function guides(wf, span, depth, box, height, run) {
    const shown = Math.min(depth, DEEPEST_GUIDE);
    const width = INDENT * (shown + 1);
    const svg = shape("svg", { class: "wf-guides", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const middle = height / 2;
    const path = depth > 0 && depth <= DEEPEST_GUIDE ? guidePath(wf, span, depth, box, height, run) : "";
    const left = shown * INDENT + 2.5;
    const below = box === "open" ? `M${left + 4.5} ${middle + 4.5}V${height}` : "";
    svg.append(shape("path", { class: "wf-guide", d: path + below }));
    if (box) {
      svg.append(shape("rect", { class: "wf-box", x: left, y: middle - 4.5, width: 9, height: 9, rx: 2 }));
      const sign = `M${left + 2} ${middle}h5` + (box === "closed" ? `M${left + 4.5} ${middle - 2.5}v5` : "");
      svg.append(shape("path", { class: "wf-sign", d: sign }));
    }
    return svg;
  }

  /** `run` is "" for a row of its own, "head" for the row of a run of repeats, "member" for a row inside of it. */
  function guidePath(wf, span, depth, box, height, run) {
    const { layout, index } = wf;
    const middle = height / 2;
    const lastOfRun = run ? index.runEnd[index.runOf[span]] - 1 : span;
    const continues = run === "member" ? [span < lastOfRun] : [];
    for (let at = lastOfRun; at >= 0 && continues.length < depth; at = index.parent[at]) {
      continues.push(layout.hasNextSibling(index, at));
    }
    return continues.map((more, step) => {
      const x = (depth - 1 - step) * INDENT + 7;
      if (step === 0) return `M${x} 0V${more ? height : middle}M${x} ${middle}h${box ? 9.5 : 13}`;
      return more ? `M${x} 0V${height}` : "";
    }).join("");
  }

  /** A row's element; `top` is where it stands in the list. */
  function rowElement(wf, row) {
    const { layout, rows } = wf;
    const node = element("div", "wf-row");
    node.id = "wf-row-" + row;
    node.dataset.row = row;
    node.style.transform = `translateY(${row * wf.rowHeight}px)`;
    node.setAttribute("role", "treeitem");
    const kind = rows.kind[row];
    if (kind === layout.ROW.MISSING_PARENT) fillMissingParent(wf, node);
    else if (kind === layout.ROW.MORE) fillMore(wf, node, rows.span[row]);
    else if (kind === layout.ROW.REPEATS) fillRepeats(wf, node, rows.span[row]);
    else fillSpan(wf, node, rows.span[row]);
    if (row === wf.selectedRow) node.classList.add("is-selected");
    node.setAttribute("aria-selected", String(row === wf.selectedRow));
    return node;
  }

  function fillMissingParent(wf, node) {
    const first = wf.index.trace.orphans_from;
    const count = wf.index.count - first;
    const name = element("div", "wf-name");
    const svg = guides(wf, first, 0, wf.choices.closedOrphans ? "closed" : "open", wf.nameHeight, "");
    name.append(svg, element("span", "wf-missing", "Parent not received"));
    name.append(element("span", "wf-service", wf.layout.plural(count, "span")));
    node.append(name, element("div", "wf-duration"), element("div", "wf-track"));
    node.setAttribute("aria-level", "1");
    node.setAttribute("aria-expanded", String(!wf.choices.closedOrphans));
    node.setAttribute("aria-label", `Parent not received, ${wf.layout.plural(count, "span")}`);
  }

  function fillMore(wf, node, first) {
    const { layout, index } = wf;
    const left = index.runEnd[first] - first - wf.choices.openRuns.get(first) * layout.REPEATS_PAGE;
    const text = `Show ${Math.min(left, layout.REPEATS_PAGE)} more of ${layout.formatCount(left)}`;
    const name = element("div", "wf-name");
    const indent = element("span", "wf-indent");
    indent.style.width = `${(Math.min(index.depth[first] + 1, DEEPEST_GUIDE) + 1) * INDENT}px`;
    name.append(indent, element("span", "wf-more", text));
    node.append(name, element("div", "wf-duration"), element("div", "wf-track"));
    node.setAttribute("aria-level", String(index.depth[first] + 2));
    node.setAttribute("aria-label", text);
  }

  function fillSpan(wf, node, span) {
    const { layout, index } = wf;
    const { trace } = index;
    const flags = trace.flags[span];
    const inRun = wf.choices.collapseRepeats && index.runOf[span] >= 0;
    const depth = index.depth[span] + (inRun ? 1 : 0);
    const isParent = index.end[span] > span + 1;
    const isClosed = isParent && wf.choices.closed.has(span);
    const name = nameCell(wf, node, span, depth, isParent ? (isClosed ? "closed" : "open") : "", inRun ? "member" : "");
    if (flags & layout.FLAG.ERROR) name.insertBefore(diamond("Failed"), name.querySelector(".wf-operation"));
    if (isClosed) name.append(element("span", "wf-chip", `+${layout.formatCount(index.end[span] - span - 1)}`));
    appendTags(wf, name, flags);
    node.append(name, element("div", "wf-duration", layout.formatDuration(trace.duration_ns[span])));
    node.append(spanTrack(wf, span));
    if (isParent) node.setAttribute("aria-expanded", String(!isClosed));
    node.setAttribute("aria-label", spanLabel(wf, span));
  }

  function fillRepeats(wf, node, first) {
    const { layout, index } = wf;
    const { trace } = index;
    const run = runSummary(wf, first);
    const isOpen = wf.choices.openRuns.has(first);
    const name = nameCell(wf, node, first, index.depth[first], isOpen ? "open" : "closed", "head");
    if (run.errors) name.insertBefore(diamond(`${run.errors} failed`), name.querySelector(".wf-operation"));
    name.append(element("span", "wf-chip", `×${layout.formatCount(run.count)}`));
    node.append(name, element("div", "wf-duration", layout.formatDuration(run.total)));
    const label = `${layout.formatCount(run.count)} × ${layout.formatDuration(run.total / run.count)}`;
    const track = element("div", "wf-track");
    track.style.setProperty("--c", serviceColor(trace, first));
    const bar = place(wf, "wf-self is-repeats", run.from, run.to);
    if (bar) track.append(bar);
    if (run.errors) append(track, place(wf, "wf-failed", run.from, run.to));
    track.append(...barLabel(wf, run.from, run.to, label));
    node.append(track);
    node.setAttribute("aria-expanded", String(isOpen));
    node.setAttribute("aria-label", `${operation(trace, first)}, ${run.count} times, ${label}`);
  }

  function runSummary(wf, first) {
    const { trace, runEnd } = wf.index;
    const run = { count: runEnd[first] - first, total: 0, errors: 0, from: Infinity, to: -Infinity };
    for (let i = first; i < runEnd[first]; i++) {
      run.total += trace.duration_ns[i];
      if (trace.flags[i] & wf.layout.FLAG.ERROR) run.errors++;
      run.from = Math.min(run.from, trace.start[i]);
      run.to = Math.max(run.to, trace.start[i] + trace.duration_ns[i]);
    }
    return run;
  }

  function nameCell(wf, node, span, depth, box, run) {
    const { trace, parent } = wf.index;
    const name = element("div", "wf-name");
    const swatch = element("i", "wf-swatch");
    swatch.style.background = serviceColor(trace, span);
    name.append(guides(wf, span, depth, box, wf.nameHeight, run));
    if (depth > DEEPEST_GUIDE) name.append(element("span", "wf-depth", `+${depth - DEEPEST_GUIDE}`));
    const text = element("span", "wf-operation", operation(trace, span));
    if (span === trace.root) text.classList.add("is-root");
    if (wf.matchSet.has(span)) text.classList.add("is-match");
    name.append(swatch, text);
    const changes = parent[span] < 0 || trace.service[parent[span]] !== trace.service[span]
      || (parent[span] !== span - 1 && wf.previousService(span) !== trace.service[span]);
    if (changes) name.append(element("span", "wf-service", trace.services[trace.service[span]].name));
    name.title = `${operation(trace, span)} · ${trace.services[trace.service[span]].name}`;
    node.setAttribute("aria-level", String(depth + 1));
    if (wf.isolated >= 0 && trace.service[span] !== wf.isolated) node.classList.add("is-dim");
    return name;
  }

  function appendTags(wf, name, flags) {
    for (const [flag, text, title] of TAGS) {
      if (!(flags & wf.layout.FLAG[flag])) continue;
      const tag = element("span", "wf-tag", text);
      tag.title = title;
      name.append(tag);
    }
  }

  function spanTrack(wf, span) {
    const { layout, index } = wf;
    const { trace } = index;
    const track = element("div", "wf-track");
    const from = trace.start[span];
    const to = from + trace.duration_ns[span];
    track.style.setProperty("--c", serviceColor(trace, span));
    append(track, place(wf, "wf-bar", from, to));
    const pixels = layout.segmentPixels(wf.selfSegments(span), wf.view, wf.trackWidth);
    for (let k = 0; k < pixels.length; k += 2) track.append(pixelBox("wf-self", pixels[k], pixels[k + 1]));
    const isUnfinished = trace.flags[span] & layout.FLAG.UNFINISHED;
    if (isUnfinished) append(track, place(wf, "wf-unfinished", from, to));
    if (trace.flags[span] & layout.FLAG.ERROR) append(track, place(wf, "wf-failed", from, to));
    appendEvents(wf, track, span);
    const label = wf.labels.get(span);
    if (label) track.append(...barLabel(wf, from, to, label));
    return track;
  }

  function appendEvents(wf, track, span) {
    let last = -9;
    for (const event of wf.events.get(span) || []) {
      const left = wf.x(event.at);
      if (left < -3 || left > wf.trackWidth + 3 || left - last < 3) continue;
      const mark = element("i", event.isException ? "wf-event is-exception" : "wf-event");
      mark.style.left = `${left}px`;
      track.append(mark);
      last = left;
    }
  }

  function append(track, node) {
    if (node) track.append(node);
  }

  function place(wf, className, from, to) {
    const left = Math.max(-4, wf.x(from));
    const right = Math.min(wf.trackWidth + 4, wf.x(to));
    return right < 0 || left > wf.trackWidth || right < left ? null : pixelBox(className, left, right - left);
  }

  function pixelBox(className, left, width) {
    const box = element("i", className);
    box.style.left = `${left.toFixed(2)}px`;
    box.style.width = `${width.toFixed(2)}px`;
    return box;
  }

  /** The text beside a bar: at its right, or at its left when the bar ends far right. */
  function barLabel(wf, from, to, text) {
    const left = wf.x(from);
    const right = wf.x(to);
    if (right < 0 || left > wf.trackWidth) return [];
    const label = element("span", "wf-label", text);
    if (right > wf.trackWidth * LABEL_FLIP && left > wf.trackWidth * 0.3) label.style.right = `${wf.trackWidth - left + 7}px`;
    else if (right <= wf.trackWidth * LABEL_FLIP) label.style.left = `${right + 7}px`;
    else return [];
    return [label];
  }

  function spanLabel(wf, span) {
    const { layout, index } = wf;
    const { trace } = index;
    const failed = trace.flags[span] & layout.FLAG.ERROR ? ", failed" : "";
    const start = layout.formatDuration(trace.start[span] - wf.origin);
    return `${operation(trace, span)}, ${trace.services[trace.service[span]].name}, `
      + `${layout.formatDuration(trace.duration_ns[span])}, starts at ${start}${failed}`;
  }

  function operation(trace, span) {
    return trace.names[trace.name[span]] || "(no name)";
  }

  function serviceColor(trace, span) {
    return slotColor(trace.services[trace.service[span]].slot);
  }

  function slotColor(slot) {
    return slot < 10 ? `var(--svc-${slot})` : "var(--svc-other)";
  }

  root.spanwiseWaterfallRows = { element, magnifier, rowElement, slotColor };
})(window);
