/* Keeps the reader's place in the waterfall: across new spans of a growing trace, and when a row is to be seen. */
(function (root) {
  "use strict";

  /** The reader's place in words that outlive new spans: ids and absolute times. */
  function remember(wf) {
    const { trace } = wf.index;
    const id = (span) => wf.layout.spanId(trace, span);
    const box = wf.body.getBoundingClientRect();
    const row = Math.max(0, Math.min(wf.rows.length - 1, Math.ceil((stickyBottom(wf) - box.top) / wf.rowHeight)));
    return {
      closed: [...wf.choices.closed].map(id),
      openRuns: [...wf.choices.openRuns].map(([span, pages]) => [id(span), pages]),
      selected: wf.selected >= 0 ? id(wf.selected) : "",
      isolated: wf.isolated >= 0 ? trace.services[wf.isolated].name : null,
      startNs: trace.start_ns,
      view: wf.minimap.isWhole() ? null : wf.view,
      anchor: box.top < stickyBottom(wf) ? id(wf.rows.span[row]) : "",
      anchorTop: box.top + row * wf.rowHeight,
    };
  }

  function recall(wf, before) {
    const { trace } = wf.index;
    const places = new Map();
    for (let i = wf.index.count - 1; i >= 0; i--) places.set(wf.layout.spanId(trace, i), i);
    const known = (id) => places.has(id);
    wf.choices.closed = new Set(before.closed.filter(known).map((id) => places.get(id)));
    const runs = before.openRuns.filter(([id]) => known(id)).map(([id, pages]) => [wf.index.runOf[places.get(id)], pages]);
    wf.choices.openRuns = new Map(runs.filter(([first]) => first >= 0));
    wf.selected = known(before.selected) ? places.get(before.selected) : -1;
    wf.isolated = trace.services.findIndex((service) => service.name === before.isolated);
    const shift = Number(BigInt(before.startNs) - BigInt(trace.start_ns));
    const view = before.view && { from: before.view.from + shift, to: before.view.to + shift };
    wf.view = view ? wf.layout.clampView(view, wf.full) : { ...wf.full };
    before.anchorSpan = known(before.anchor) ? places.get(before.anchor) : -1;
  }

  function scrollBack(wf, before) {
    if (before.anchorSpan < 0) return;
    const top = wf.body.getBoundingClientRect().top + wf.rows.rowOf[before.anchorSpan] * wf.rowHeight;
    scrollBy(wf, top - before.anchorTop);
  }

  function reveal(wf, row) {
    const top = wf.body.getBoundingClientRect().top + row * wf.rowHeight;
    const low = stickyBottom(wf) + 4;
    const high = window.innerHeight - wf.rowHeight - 8;
    if (top < low) scrollBy(wf, top - low - wf.rowHeight * 3);
    else if (top > high) scrollBy(wf, top - high + wf.rowHeight * 3);
  }

  function stickyBottom(wf) {
    return (parseFloat(getComputedStyle(wf.head).top) || 0) + wf.head.offsetHeight;
  }

  function scrollBy(wf, distance) {
    let scroller = wf.root.parentElement;
    while (scroller && !(/auto|scroll/.test(getComputedStyle(scroller).overflowY) && scroller.scrollHeight > scroller.clientHeight)) {
      scroller = scroller.parentElement;
    }
    (scroller || window).scrollBy(0, distance);
    wf.drawRows();
  }

  root.spanwiseWaterfallPlace = { remember, recall, scrollBack, reveal };
})(window);
