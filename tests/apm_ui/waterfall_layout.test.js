// The pure logic of the waterfall, run by tests/apm_ui/test_waterfall.py with `node --test`.
"use strict";
const assert = require("node:assert/strict");
const test = require("node:test");
const layout = require("../../apm_ui/assets/waterfall_layout.js");

// Spans as [name, parent or -1, start, duration, service = 0], in display order.
function makeTrace(spans, more = {}) {
  const names = [...new Set(spans.map((span) => span[0]))];
  return {
    total: spans.length, orphans_from: spans.length, names,
    services: [{ name: "shop", slot: 0 }, { name: "stock", slot: 1 }],
    ids: spans.map((_, i) => (i + 1).toString(16).padStart(16, "0")).join(""),
    name: spans.map((span) => names.indexOf(span[0])),
    parent: spans.map((span, i) => (span[1] < 0 ? 0 : i - span[1])),
    start: spans.map((span) => span[2]), duration_ns: spans.map((span) => span[3]),
    service: spans.map((span) => span[4] || 0), ...more,
  };
}
const indexOf = (spans, more) => layout.indexTrace(makeTrace(spans, more));
const choices = (more = {}) => ({ closed: new Set(), openRuns: new Map(), collapseRepeats: true, closedOrphans: false, ...more });
const leaves = (count, name = "SELECT") => Array.from({ length: count }, (_, i) => [name, 0, i * 10, 5]);

test("depth and end of subtree follow the parents", () => {
  const index = indexOf([["a", -1, 0, 9], ["b", 0, 1, 5], ["c", 1, 2, 1], ["d", 0, 7, 1]]);
  assert.deepEqual([...index.depth], [0, 1, 2, 1]);
  assert.deepEqual([...index.end], [4, 3, 3, 4]);
});

test("a chain of 100,000 spans is indexed and laid out without recursion", () => {
  const index = indexOf(Array.from({ length: 100000 }, (_, i) => ["level", i - 1, i, 1]));
  assert.equal(index.depth[99999], 99999);
  assert.equal(layout.buildRows(index, choices()).length, 100000);
});

test("three equal neighbouring leaves become one row, two do not", () => {
  const three = indexOf([["root", -1, 0, 99], ...leaves(3)]);
  const two = indexOf([["root", -1, 0, 99], ...leaves(2)]);
  assert.deepEqual(layout.buildRows(three, choices()).kind, [layout.ROW.SPAN, layout.ROW.REPEATS]);
  assert.equal(layout.buildRows(two, choices()).length, 3);
});

test("another name, another service or a child breaks a run", () => {
  const spans = [["root", -1, 0, 99], ["a", 0, 1, 1], ["a", 0, 2, 1], ["b", 0, 3, 1], ["a", 0, 4, 1, 1], ["a", 0, 5, 3], ["c", 5, 6, 1]];
  assert.equal(layout.buildRows(indexOf(spans), choices()).length, spans.length);
});

test("an opened run shows its spans in pages of 100 and says what is left", () => {
  const index = indexOf([["root", -1, 0, 9999], ...leaves(250)]);
  const rows = layout.buildRows(index, choices({ openRuns: new Map([[1, 1]]) }));
  assert.equal(rows.length, 1 + 1 + 100 + 1);
  assert.equal(rows.kind[rows.length - 1], layout.ROW.MORE);
  assert.equal(rows.rowOf[250], rows.length - 1);
});

test("without collapsing every span has a row of its own", () => {
  const index = indexOf([["root", -1, 0, 999], ...leaves(41)]);
  assert.equal(layout.buildRows(index, choices({ collapseRepeats: false })).length, 42);
});

test("a closed parent stands for all spans below it", () => {
  const index = indexOf([["a", -1, 0, 9], ["b", 0, 1, 5], ["c", 1, 2, 1], ["d", 0, 7, 1]]);
  const rows = layout.buildRows(index, choices({ closed: new Set([1]) }));
  assert.deepEqual(rows.span, [0, 1, 3]);
  assert.equal(rows.rowOf[2], 1);
});

test("orphans stand one level below a row of their own, which can be closed", () => {
  const index = indexOf([["a", -1, 0, 9], ["b", -1, 1, 5], ["c", 1, 2, 1]], { orphans_from: 1 });
  assert.deepEqual(layout.buildRows(index, choices()).kind, [0, layout.ROW.MISSING_PARENT, 0, 0]);
  assert.deepEqual([...index.depth], [0, 1, 2]);
  assert.equal(layout.buildRows(index, choices({ closedOrphans: true })).length, 2);
});

test("self segments are the span without the union of its children inside it", () => {
  const index = indexOf([["a", -1, 10, 100], ["b", 0, 20, 30], ["c", 0, 40, 30], ["d", 0, 90, 50]]);
  assert.deepEqual(layout.selfSegments(index, 0), [10, 20, 70, 90]);
  assert.deepEqual(layout.selfSegments(index, 1), [20, 50]);
});

test("a child that starts before its parent covers only what is inside", () => {
  const index = indexOf([["a", -1, 10, 100], ["b", 0, 0, 30]]);
  assert.deepEqual(layout.selfSegments(index, 0), [30, 110]);
});

test("segments closer than a pixel are one, slivers and what is out of view are none", () => {
  const view = { from: 0, to: 1000 };
  assert.deepEqual(layout.segmentPixels([0, 100, 105, 200], view, 100), [0, 20]);
  assert.deepEqual(layout.segmentPixels([0, 100, 500, 501], view, 100), [0, 10]);
  assert.deepEqual(layout.segmentPixels([2000, 3000], view, 100), []);
});

test("ruler steps are 1, 2, 2.5 or 5 times a power of ten", () => {
  assert.equal(layout.rulerStep(1.88e9, 8), 250e6);
  assert.equal(layout.rulerStep(9, 9), 1);
  assert.equal(layout.rulerStep(100e3, 6), 20e3);
  assert.equal(layout.rulerStep(3600e9, 8), 600e9);
});

test("ticks count from the root's start and carry their unit", () => {
  const ticks = layout.rulerTicks({ from: 0, to: 1.88e9 }, 0, 8).map((tick) => tick.label);
  assert.deepEqual(ticks, ["0", "250 ms", "500 ms", "750 ms", "1 s", "1.25 s", "1.5 s", "1.75 s"].map((t) => t.replace(" ", "\u202f")));
  assert.equal(layout.rulerTicks({ from: 0, to: 100 }, 30, 5)[0].label, "−20\u202fns");
});

test("finding looks at names, services and ids", () => {
  const trace = makeTrace([["GET /cart", -1, 0, 9], ["SELECT", 0, 1, 5, 1]]);
  assert.deepEqual(layout.findSpans(trace, "Cart"), [0]);
  assert.deepEqual(layout.findSpans(trace, "stock"), [1]);
  assert.deepEqual(layout.findSpans(trace, "0000000000000002"), [1]);
  assert.deepEqual(layout.findSpans(trace, "  "), []);
});

test("an id is found at its own place only", () => {
  const trace = makeTrace([["a", -1, 0, 1], ["b", 0, 0, 1]], { ids: "00000000000000110000000000000001" });
  assert.equal(layout.spanOfId(trace, "0000000000000001"), 1);
  assert.equal(layout.spanOfId(trace, "ffffffffffffffff"), -1);
});

test("the next match goes round", () => {
  assert.equal(layout.nextOf([3, 7], 7, 1), 3);
  assert.equal(layout.nextOf([3, 7], 3, -1), 7);
  assert.equal(layout.nextOf([], 3, 1), -1);
});

test("a view stays inside the trace", () => {
  const full = { from: 0, to: 1e6 };
  assert.deepEqual(layout.clampView({ from: -5e5, to: 1e5 }, full), { from: 0, to: 6e5 });
  assert.deepEqual(layout.clampView({ from: 5, to: 5 }, full), { from: 5, to: 1005 });
});

test("the foot says what is shown, what is folded and what was cut off", () => {
  const index = indexOf([["root", -1, 0, 999], ...leaves(3), ["x", 0, 900, 1]]);
  const say = (c) => layout.footSentence(index, layout.buildRows(index, choices(c)));
  assert.match(say(), /^3 rows show all 5 spans; 1 group of repeats is collapsed\. Solid is self time/);
  assert.match(say({ closed: new Set([0]) }), /^1 row shows 1 of 5 spans\./);
  const cut = indexOf([["root", -1, 0, 9]], { total: 1000000 });
  assert.match(layout.footSentence(cut, layout.buildRows(cut, choices())), /^Showing the first 1 of 1,000,000 spans\./);
});
