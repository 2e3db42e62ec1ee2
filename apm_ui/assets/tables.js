// Cell renderers, theme and links of the grids. All text goes in as React children, never as markup.
(function () {
  "use strict";
  const el = (...args) => window.React.createElement(...args);
  const components = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});

  const SHAPES = {
    ok: ["circle", { cx: 6, cy: 6, r: 4.5 }],
    warn: ["path", { d: "M6 1.4 11 10.4H1z" }],
    critical: ["path", { d: "M6 .8 11.2 6 6 11.2.8 6z" }],
  };

  function shape(state, label) {
    const [tag, geometry] = SHAPES[state] || ["circle", { cx: 6, cy: 6, r: 4.3 }];
    return el(
      "svg",
      { className: "cell-shape is-" + state, viewBox: "0 0 12 12", width: 12, height: 12, role: "img", "aria-label": label },
      el("title", null, label),
      el(tag, geometry)
    );
  }

  components.SpanwiseHeader = (params) => {
    // The heads are there before the first event that a listener can hear.
    window.React.useEffect(() => functions.spanwiseFitColumns(params), []);
    const text = params.arrow ? params.displayName + " " + params.arrow : params.displayName;
    const className = "grid-head" + (params.isNumber ? " number" : "") + (params.arrow ? " sorted" : "");
    return params.href ? el("a", { href: params.href, className: className + " sw-nav" }, text) : el("span", { className }, text);
  };

  // value: {text, detail, state, label}; the row's `href` is where the name leads.
  components.SpanwiseName = (params) => {
    const { text, detail, state, label } = params.value;
    return el(
      "span",
      { className: "cell-name" },
      shape(state, label),
      el("a", { href: params.data.href, className: "sw-nav", title: detail ? text + " › " + detail : text }, text),
      detail ? el("span", { className: "muted cut" }, "› " + detail) : null
    );
  };

  // value: {text, state}: a number that is red only where the row is critical because of it.
  components.SpanwiseState = (params) => {
    const { text, state } = params.value;
    return el("span", { className: state ? "cell-" + state : text === "–" ? "muted" : "" }, text);
  };

  components.SpanwiseMuted = (params) => el("span", { className: "text2" }, params.value);

  components.SpanwiseStrong = (params) => el("strong", null, params.value);

  // value: {text, full}: a shortened text whose whole stands in the tooltip.
  components.SpanwiseShort = (params) => el("span", { className: "muted", title: params.value.full }, params.value.text);

  // value: {share, label, parts: [[colour, share], …]}: the length says how long, the parts say where.
  components.SpanwiseSegments = (params) => {
    const { share, label, parts } = params.value;
    return el(
      "span",
      { className: "cell-segments", role: "img", "aria-label": label, title: label },
      el(
        "span",
        { style: { width: Math.max(0.6, share * 100) + "%" } },
        parts.map(([colour, part], index) =>
          el("i", { key: index, style: { flexGrow: Math.max(part, 0.0001), background: "var(--" + colour + ")" } })
        )
      )
    );
  };

  functions.spanwiseTheme = (quartz) =>
    quartz.withParams({
      backgroundColor: "var(--surface)",
      foregroundColor: "var(--text)",
      textColor: "var(--text)",
      headerBackgroundColor: "var(--surface)",
      headerTextColor: "var(--muted)",
      headerFontSize: 12,
      headerFontWeight: 500,
      borderColor: "var(--line)",
      rowBorder: { color: "var(--line)" },
      columnBorder: false,
      wrapperBorder: false,
      wrapperBorderRadius: 0,
      headerColumnBorder: false,
      headerColumnResizeHandleDisplay: "none",
      rowHoverColor: "var(--hover)",
      selectedRowBackgroundColor: "var(--accent-soft)",
      accentColor: "var(--accent)",
      fontFamily: "inherit",
      fontSize: 13,
      cellHorizontalPadding: 10,
      browserColorScheme: "inherit",
    });

  // Tab goes from link to link as everywhere else; the grid has no keys of its own.
  functions.spanwiseLeaveKeys = () => true;

  functions.spanwiseFitColumns = (params) => {
    const width = window.innerWidth;
    for (const column of params.api.getColumns() || []) {
      const context = column.getColDef().context;
      const isVisible = width >= (context ? context.hideBelow : 0);
      if (column.isVisible() !== isVisible) params.api.setColumnsVisible([column.getColId()], isVisible);
    }
  };

  function isPlainClick(event) {
    return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  }

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || !isPlainClick(event) || !(event.target instanceof Element)) return;
    const row = event.target.closest(".grid .ag-row");
    const link = event.target.closest("a.sw-nav") || (row && !event.target.closest("a, button") && row.querySelector("a.sw-nav"));
    // Marking text inside a row is reading, not opening.
    if (!link || (row && String(window.getSelection() || "") !== "")) return;
    event.preventDefault();
    window.spanwise.navigate(link.getAttribute("href"));
  });

  // --- the query bar -----------------------------------------------------------------------------------------------
  // React listens to the native setter only; writing `value` alone would be undone.
  function type(field, text) {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, text);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  }

  const queryField = (element) => element.closest(".query")?.querySelector("input");

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const chip = event.target.closest("button[data-condition]");
    if (chip) type(queryField(chip), chip.dataset.condition);
    else if (event.target.matches(".query")) queryField(event.target)?.focus();
    if (event.target.closest(".row-link, .facets-toggle")) window.spanwise.pause();
    const toggle = event.target.closest(".facets-toggle");
    if (toggle) toggle.parentElement.classList.toggle("is-open");
  });

  // What is being typed, unfolded or read in a drawer must not be replaced by a refresh.
  document.addEventListener("focusin", (event) => {
    if (event.target instanceof Element && event.target.closest(".query")) window.spanwise.pause();
  });
  document.addEventListener("toggle", (event) => {
    if (event.target instanceof Element && event.target.closest(".facets") && event.target.open) window.spanwise.pause();
  }, true);

  // A drawer, opened by a click or by the address, is read: nothing moves meanwhile. Closing it gives the focus back.
  let opener = "";
  let hasDrawer = false;
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest(".row-link");
    if (link) opener = link.getAttribute("href");
  });

  function followDrawer() {
    const drawer = document.querySelector("#page .drawer");
    if (Boolean(drawer) === hasDrawer) return;
    hasDrawer = Boolean(drawer);
    if (drawer) window.spanwise.pause();
    requestAnimationFrame(returnFocus);
  }

  function returnFocus() {
    if (document.activeElement !== document.body) return;
    const row = [...document.querySelectorAll(".row-link")].find((link) => link.getAttribute("href") === opener);
    const target = row || (hasDrawer ? null : document.querySelector(".wf-body"));
    if (target) target.focus({ preventScroll: true });
  }
  new MutationObserver(followDrawer).observe(document.body, { childList: true, subtree: true });

  // Backspace in an empty field takes the last condition into it.
  document.addEventListener("keydown", (event) => {
    const field = event.target instanceof Element && event.target.closest(".query") ? event.target : null;
    if (!field || event.key !== "Backspace" || field.value !== "") return;
    const chips = field.closest(".query").querySelectorAll("button[data-condition]");
    if (chips.length) {
      event.preventDefault();
      type(field, chips[chips.length - 1].dataset.condition);
    }
  });

  // --- points of the scatter ---------------------------------------------------------------------------------------
  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    spanwise_lists: {
      openPoint: function (click) {
        const traceId = click && click.points && click.points[0] && click.points[0].customdata;
        if (typeof traceId !== "string") return;
        const kept = new URLSearchParams();
        for (const [name, value] of new URLSearchParams(location.search)) {
          if (["range", "start", "end", "service"].includes(name)) kept.append(name, value);
        }
        const query = kept.toString();
        window.spanwise.navigate("/traces/" + encodeURIComponent(traceId) + (query ? "?" + query : ""));
      },
    },
  });
})();
