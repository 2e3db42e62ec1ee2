// The frame's behaviour: live updates that pause by themselves, theme, navigation, copy buttons, keys.
(function () {
  "use strict";
  const spanwise = (window.spanwise = window.spanwise || {});
  const root = document.documentElement;
  const state = { isLive: true, checkedAt: 0, problem: "", chord: 0 };
  const byId = (id) => document.getElementById(id);
  // A store or a closed sheet has no element in the page; Dash knows all of them once the frame is drawn.
  const setProps = (id, props) => byId("shell-live") && window.dash_clientside.set_props(id, props);

  function remember(key, value) {
    try { localStorage.setItem(key, value); } catch (error) { /* private windows remember nothing */ }
  }

  // --- addresses ---------------------------------------------------------------------------------------------------
  spanwise.navigate = function (href) {
    history.pushState({}, "", href);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  };

  // Make [startMs, endMs) the page's time range; what is past does not move, so live updates pause.
  spanwise.setRange = function (startMs, endMs) {
    const params = new URLSearchParams(location.search);
    params.delete("range");
    params.set("start", Math.round(startMs) + "000000");
    params.set("end", Math.round(endMs) + "000000");
    spanwise.navigate(location.pathname + "?" + params);
  };

  // --- live and paused ---------------------------------------------------------------------------------------------
  function applyLive() {
    root.dataset.live = state.isLive ? "live" : "paused";
    setProps("shell-tick", { disabled: !state.isLive || document.hidden });
    const button = byId("shell-live");
    if (button) button.setAttribute("aria-pressed", String(!state.isLive));
  }

  spanwise.pause = function () {
    if (!state.isLive) return;
    state.isLive = false;
    applyLive();
  };

  function refreshNow() {
    setProps("page-seen", { data: null });
    setProps("shell-tick", { n_intervals: Date.now() });
  }

  function resume() {
    state.isLive = true;
    applyLive();
    refreshNow();
  }

  document.addEventListener("visibilitychange", applyLive);
  document.addEventListener("selectionchange", () => {
    const selection = document.getSelection();
    const page = byId("page");
    if (selection && !selection.isCollapsed && page && page.contains(selection.anchorNode)) spanwise.pause();
  });
  // Scrolling down inside a list (not the page itself, whose parts keep their places).
  document.addEventListener("scroll", (event) => {
    const list = event.target;
    if (list instanceof Element && byId("page")?.contains(list) && list.scrollTop > 60) spanwise.pause();
  }, true);

  // --- what the store's pulse says ---------------------------------------------------------------------------------
  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    spanwise: {
      place: (next) => spanwise.place(next),
      pulse: function (pulse) {
        if (!pulse) return window.dash_clientside.no_update;
        state.problem = pulse.problem || "";
        if (!state.problem) state.checkedAt = Date.now();
        const foot = byId("shell-foot");
        if (foot && pulse.growth) foot.replaceChildren(line(pulse.growth), line(pulse.size));
        tell();
        return window.dash_clientside.no_update;
      },
    },
  });

  function line(text) {
    const element = document.createElement("div");
    element.textContent = text;
    return element;
  }

  function ago(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    return seconds < 60 ? `${seconds}\u202fs` : `${Math.floor(seconds / 60)}\u202fmin`;
  }

  function tell() {
    if (!state.checkedAt && !state.problem) return;
    const age = Date.now() - state.checkedAt;
    const updated = byId("shell-updated");
    if (updated && state.checkedAt) updated.textContent = age < 1500 ? "Updated now" : `Updated ${ago(age)} ago`;
    const strip = byId("shell-strip");
    if (!strip) return;
    const isStale = state.problem || (state.isLive && !document.hidden && age > 20000);
    const cause = state.problem || "Spanwise does not answer. Look at the terminal where it runs.";
    const known = state.checkedAt ? `Numbers are ${ago(age)} old. ` : "";
    const words = isStale ? known + cause : "";
    if (strip.textContent !== words) strip.textContent = words;
  }
  setInterval(tell, 1000);

  // --- theme and navigation ----------------------------------------------------------------------------------------
  function setTheme(theme) {
    root.dataset.theme = theme;
    root.dataset.mantineColorScheme = theme;
    window.dispatchEvent(new CustomEvent("spanwise-theme"));
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    let chosen = null;
    try { chosen = localStorage.getItem("mantine-color-scheme-value"); } catch (error) { /* nothing is remembered */ }
    if (chosen !== "dark" && chosen !== "light") setTheme(event.matches ? "dark" : "light");
  });

  const actions = {
    "shell-theme": () => {
      const theme = root.dataset.theme === "dark" ? "light" : "dark";
      remember("mantine-color-scheme-value", theme);
      setTheme(theme);
    },
    "shell-collapse": () => {
      root.dataset.nav = isSlim() ? "wide" : "slim";
      remember("spanwise-nav", root.dataset.nav);
    },
    "shell-menu": () => { root.dataset.menu = root.dataset.menu === "open" ? "" : "open"; },
    "shell-live": () => (state.isLive ? spanwise.pause() : resume()),
    "shell-help": () => setProps("shell-keys", { opened: true }),
  };

  const isSlim = () => root.dataset.nav === "slim" || (root.dataset.nav === "auto" && root.dataset.page === "trace");

  function closePickers(except) {
    for (const picker of document.querySelectorAll("details.picker[open]")) {
      if (picker !== except) picker.open = false;
    }
  }

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    const button = target.closest("button, [data-copy]");
    if (button && actions[button.id]) actions[button.id]();
    if (button && button.dataset.copy !== undefined) copy(button);
    if (button && button.dataset.retry !== undefined) refreshNow();
    if (target.closest("details.picker a")) closePickers(null);
    else closePickers(target.closest("details.picker"));
    if (!target.closest("#shell-side, #shell-menu") || target.closest("#shell-side a")) root.dataset.menu = "";
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("details.picker") && event.target.open) closePickers(event.target);
  }, true);

  function copy(button) {
    const text = button.dataset.copy === "address" ? location.href : button.dataset.copy;
    navigator.clipboard.writeText(text).then(() => {
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1500);
    });
  }

  // --- the page's title and place ----------------------------------------------------------------------------------
  function followPage() {
    const title = document.querySelector("#page h1");
    const named = title && title.cloneNode(true);
    if (named) named.querySelectorAll(".tag").forEach((tag) => tag.remove());
    const words = named ? `${named.textContent} · Spanwise` : "Spanwise";
    if (document.title !== words) document.title = words;
    const content = document.querySelector("#page > .content");
    const slug = content ? content.id.replace(/-content$/, "") : "";
    if (root.dataset.page !== slug) root.dataset.page = slug;
  }

  let address = location.pathname;
  function followAddress() {
    if (location.pathname !== address) window.scrollTo(0, 0);
    address = location.pathname;
    if (new URLSearchParams(location.search).has("start")) spanwise.pause();
  }
  window.addEventListener("_dashprivate_pushstate", followAddress);
  window.addEventListener("popstate", followAddress);

  new MutationObserver(followPage).observe(document.body, { childList: true, subtree: true });
  const started = setInterval(() => {
    if (!byId("shell-live")) return;
    clearInterval(started);
    applyLive();
    followAddress();
  }, 50);

  // --- keys --------------------------------------------------------------------------------------------------------
  const PLACES = { o: "/", t: "/traces", q: "/queries", s: "/slos" };
  const isTyping = (element) => element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      if (document.querySelector("details.picker[open]")) return closePickers(null);
      if (!isTyping(event.target)) document.querySelector("a.drawer-close")?.click();
      return undefined;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return undefined;
    if (Date.now() - state.chord < 1200 && PLACES[event.key]) {
      state.chord = 0;
      const link = document.querySelector(`#shell-nav a[href="${PLACES[event.key]}"], #shell-nav a[href^="${PLACES[event.key]}?"]`);
      if (link) link.click();
      event.stopImmediatePropagation();
    } else if (event.key === "g") state.chord = Date.now();
    else if (event.key === "p") actions["shell-live"]();
    else if (event.key === "?") actions["shell-help"]();
    else if (event.key === "y") navigator.clipboard.writeText(location.href);
    return undefined;
  });
})();
