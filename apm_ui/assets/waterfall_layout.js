/* Pure logic of the trace waterfall: tree, rows, ruler, self time, wording. No DOM, so that it runs under node too. */
(function (root) {
  "use strict";

  const FLAG = { ERROR: 1, ORPHAN: 2, UNFINISHED: 4, NEGATIVE: 8, SKEW: 16, ASYNC: 32, CYCLE: 64, UNTIMED: 128 };
  const ROW = { SPAN: 0, REPEATS: 1, MORE: 2, MISSING_PARENT: 3 };
  const MIN_REPEATS = 3;
  const REPEATS_PAGE = 100;
  const SLIVER_PX = 0.2; // less would be drawn ten times too wide
  const NNBSP = "\u202f";

  /** Everything about the tree that never changes while the reader looks at it; `trace.parent` holds distances. */
  function indexTrace(trace) {
    const count = trace.start.length;
    const parent = new Int32Array(count);
    const depth = new Int32Array(count);
    const end = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      parent[i] = trace.parent[i] ? i - trace.parent[i] : -1;
      depth[i] = parent[i] < 0 ? (i >= trace.orphans_from ? 1 : 0) : depth[parent[i]] + 1;
      end[i] = i + 1;
    }
    for (let i = count - 1; i > 0; i--) {
      if (parent[i] >= 0 && end[i] > end[parent[i]]) end[parent[i]] = end[i];
    }
    const index = { trace, count, parent, depth, end, runOf: new Int32Array(count).fill(-1), runEnd: new Int32Array(count) };
    findRuns(index);
    return index;
  }

  /** Marks runs of at least three neighbours that are leaves of one parent with the same name and service. */
  function findRuns(index) {
    const { trace, count, parent, end, runOf, runEnd } = index;
    for (let i = 0; i < count; ) {
      let j = i + 1;
      if (end[i] === i + 1) {
        while (j < count && end[j] === j + 1 && parent[j] === parent[i] && j !== trace.orphans_from
          && trace.name[j] === trace.name[i] && trace.service[j] === trace.service[i]) j++;
      }
      if (j - i >= MIN_REPEATS) {
        runEnd[i] = j;
        runOf.fill(i, i, j);
      }
      i = j;
    }
  }

  function hasNextSibling(index, i) {
    const next = index.end[i];
    return next < index.count && index.parent[next] === index.parent[i]
      && (index.parent[i] >= 0 || next !== index.trace.orphans_from);
  }

  /**
   * The rows that show under the reader's choices: `closed` (Set of spans), `openRuns` (Map run start → pages),
   * `collapseRepeats`, `closedOrphans`. `rowOf[span]` is the row that stands for the span.
   */
  function buildRows(index, choices) {
    const { count, end, runOf, runEnd, trace } = index;
    const rows = { kind: [], span: [], rowOf: new Int32Array(count), groups: 0, folded: 0, extra: 0 };
    const add = (kind, span) => rows.kind.push(kind) && rows.span.push(span) - 1;
    for (let i = 0; i < count; ) {
      if (i === trace.orphans_from) {
        const header = add(ROW.MISSING_PARENT, i);
        rows.extra++;
        if (choices.closedOrphans) {
          rows.folded += count - i;
          rows.rowOf.fill(header, i);
          break;
        }
      }
      if (choices.collapseRepeats && runOf[i] === i) {
        addRun(rows, add, i, runEnd[i], choices.openRuns.get(i) || 0);
        i = runEnd[i];
        continue;
      }
      const row = add(ROW.SPAN, i);
      rows.rowOf[i] = row;
      if (end[i] > i + 1 && choices.closed.has(i)) {
        rows.rowOf.fill(row, i, end[i]);
        rows.folded += end[i] - i - 1;
        i = end[i];
      } else i++;
    }
    rows.length = rows.kind.length;
    return rows;
  }

  function addRun(rows, add, first, last, pages) {
    const head = add(ROW.REPEATS, first);
    rows.rowOf.fill(head, first, last);
    if (!pages) {
      rows.groups++;
      return;
    }
    rows.extra++;
    const shown = Math.min(last, first + pages * REPEATS_PAGE);
    for (let i = first; i < shown; i++) rows.rowOf[i] = add(ROW.SPAN, i);
    if (shown < last) {
      rows.rowOf.fill(add(ROW.MORE, first), shown, last);
      rows.extra++;
      rows.folded += last - shown;
    }
  }

  /** Stretches [from, to, from, to, …] in ns from the trace's start in which a span waits for none of its children. */
  function selfSegments(index, i) {
    const { start, duration_ns: duration } = index.trace;
    const from = start[i];
    const to = from + duration[i];
    if (index.end[i] === i + 1) return [from, to];
    const segments = [];
    let free = from;
    for (let child = i + 1; child < index.end[i]; child = index.end[child]) {
      const childStart = Math.max(from, start[child]);
      const childEnd = Math.min(to, start[child] + duration[child]);
      if (childEnd <= childStart) continue;
      if (childStart > free) segments.push(free, childStart);
      if (childEnd > free) free = childEnd;
    }
    if (free < to) segments.push(free, to);
    return segments;
  }

  /** Segments as pixels [left, width, …] in a view; what is closer than a pixel is drawn as one, slivers are left out. */
  function segmentPixels(segments, view, width) {
    const scale = width / (view.to - view.from);
    const pixels = [];
    for (let k = 0; k < segments.length; k += 2) {
      const left = (Math.max(segments[k], view.from) - view.from) * scale;
      const right = (Math.min(segments[k + 1], view.to) - view.from) * scale;
      const isSliver = right - left < SLIVER_PX && segments.length > 2;
      if (right < 0 || left > width || right < left || isSliver) continue;
      const last = pixels.length - 2;
      if (last >= 0 && left - (pixels[last] + pixels[last + 1]) < 1) pixels[last + 1] = right - pixels[last];
      else pixels.push(left, right - left);
    }
    return pixels;
  }

  const BEYOND_A_MINUTE = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400, 43200].map((m) => m * 6e10);

  /** The step between ticks in ns: 1, 2, 2.5 or 5 × 10ⁿ, whole minutes, hours and days above 50 s. */
  function rulerStep(span, maxTicks) {
    const least = span / Math.max(1, maxTicks);
    if (least <= 1) return 1;
    if (least > 5e10) return BEYOND_A_MINUTE.find((step) => step >= least) || Math.ceil(least / 864e11) * 864e11;
    const power = 10 ** Math.floor(Math.log10(least) + 1e-9);
    const factor = [1, 2, 2.5, 5, 10].find((f) => f * power >= least * (1 - 1e-9));
    return Math.max(1, factor * power);
  }

  /** Round times in a view, counted from `origin`: [{at, label}], all in ns. */
  function rulerTicks(view, origin, maxTicks) {
    const step = rulerStep(view.to - view.from, maxTicks);
    const ticks = [];
    const first = Math.ceil((view.from - origin) / step - 1e-6);
    for (let k = first; origin + k * step <= view.to + step * 1e-6 && ticks.length < 50; k++) {
      ticks.push({ at: origin + k * step, label: tickLabel(k * step) });
    }
    return ticks;
  }

  function tickLabel(ns) {
    if (ns === 0) return "0";
    const size = Math.abs(ns);
    if (size >= 6e10) return formatDuration(ns);
    const [unit, name] = size >= 1e9 ? [1e9, "s"] : size >= 1e6 ? [1e6, "ms"] : size >= 1e3 ? [1e3, "µs"] : [1, "ns"];
    return (ns < 0 ? "−" : "") + String(+(size / unit).toPrecision(9)) + NNBSP + name;
  }

  /** Three significant digits with the unit by size, as `components/text.py: duration` writes it. */
  function formatDuration(ns) {
    if (ns == null || Number.isNaN(ns)) return "–";
    if (ns < 0) return "−" + formatDuration(-ns);
    if (ns === 0) return "0" + NNBSP + "ms";
    for (const [name, unit] of [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9]]) {
      const value = ns / unit;
      if (value < (name === "s" ? 59.95 : 999.5)) return (name === "ns" ? Math.round(value) : digits(value)) + NNBSP + name;
    }
    return formatLongDuration(ns);
  }

  function digits(value) {
    return value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
  }

  function formatLongDuration(ns) {
    for (const [name, unit, smallName, smallUnit] of [["d", 864e11, "h", 36e11], ["h", 36e11, "min", 6e10], ["min", 6e10, "s", 1e9]]) {
      const small = Math.round(ns / smallUnit);
      const perUnit = unit / smallUnit;
      if (small < perUnit) continue;
      const rest = small % perUnit;
      const restText = smallName === "s" ? String(rest).padStart(2, "0") : String(rest);
      return Math.floor(small / perUnit) + NNBSP + name + (rest ? NNBSP + restText + NNBSP + smallName : "");
    }
    return "1" + NNBSP + "min";
  }

  function formatCount(n) {
    return String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  }

  /** Spans whose name, service or id holds the text, in order; none for an empty text. */
  function findSpans(trace, text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const names = trace.names.map((name) => name.toLowerCase().includes(wanted));
    const services = trace.services.map((service) => service.name.toLowerCase().includes(wanted));
    const isHex = /^[0-9a-f]{4,16}$/.test(wanted);
    const found = [];
    for (let i = 0; i < trace.start.length; i++) {
      if (names[trace.name[i]] || services[trace.service[i]] || (isHex && spanId(trace, i).startsWith(wanted))) found.push(i);
    }
    return found;
  }

  function spanId(trace, i) {
    return trace.ids.substr(i * 16, 16);
  }

  function spanOfId(trace, id) {
    if (!id) return -1;
    for (let at = trace.ids.indexOf(id); at >= 0; at = trace.ids.indexOf(id, at + 1)) {
      if (at % 16 === 0) return at / 16;
    }
    return -1;
  }

  /** The next (or previous, for step −1) of sorted spans after the present one, round and round. */
  function nextOf(sorted, present, step) {
    if (!sorted.length) return -1;
    const after = step > 0 ? sorted.find((i) => i > present) : sorted.filter((i) => i < present).pop();
    return after !== undefined ? after : sorted[step > 0 ? 0 : sorted.length - 1];
  }

  /** A view of the same trace after moving or zooming, kept inside `full` and not narrower than 1 µs. */
  function clampView(view, full) {
    const length = Math.min(full.to - full.from, Math.max(view.to - view.from, Math.min(1000, full.to - full.from)));
    const from = Math.min(Math.max(view.from, full.from), full.to - length);
    return { from, to: from + length };
  }

  function plural(n, one) {
    return formatCount(n) + " " + (n === 1 ? one : one + "s");
  }

  /** The sentence under the rows: what is shown, what is left out, and how to read a bar. */
  function footSentence(index, rows) {
    const { trace, count } = index;
    const total = Math.max(trace.total, count);
    const shown = rows.folded || total > count
      ? `${formatCount(count - rows.folded)} of ${plural(total, "span")}`
      : count === 1 ? "the only span" : `all ${plural(count, "span")}`;
    const cap = total > count ? `Showing the first ${formatCount(count)} of ${plural(total, "span")}. ` : "";
    const lines = rows.length - rows.extra;
    const all = `${cap}${plural(lines, "row")} ${lines === 1 ? "shows" : "show"} ${shown}`;
    const groups = rows.groups
      ? `; ${plural(rows.groups, "group")} of repeats ${rows.groups === 1 ? "is" : "are"} collapsed`
      : "";
    return `${all}${groups}. Solid is self time, pale is time in children.`;
  }

  const api = {
    FLAG, ROW, REPEATS_PAGE, indexTrace, hasNextSibling, buildRows, selfSegments, segmentPixels, rulerStep, rulerTicks,
    formatDuration, formatCount, findSpans, spanId, spanOfId, nextOf, clampView, footSentence, plural,
  };
  if (typeof module !== "undefined" && module.exports) module.exports = api;
  else root.spanwiseWaterfallLayout = api;
})(typeof window === "undefined" ? globalThis : window);
