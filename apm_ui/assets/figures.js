// Charts: dcc.Graph with "@token" colours put in for the theme, and a drag over time that changes the address.
(function () {
  "use strict";
  const spanwise = (window.spanwise = window.spanwise || {});
  const CONFIG = { displayModeBar: false, responsive: true, showTips: false, doubleClick: false, scrollZoom: false };
  const LISTENED = new Set(["clickData", "selectedData", "hoverData", "relayoutData"]);

  // "@accent" is the theme's colour; "@accent/13" the same at 13 % strength.
  function colour(token) {
    const [name, strength] = token.slice(1).split("/");
    const value = getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
    if (!strength) return value;
    const alpha = Math.round((Number(strength) * 255) / 100).toString(16).padStart(2, "0");
    return value + alpha;
  }

  const isToken = (value) => typeof value === "string" && /^@[a-z][a-z0-9-]*(\/\d+)?$/.test(value);

  function resolve(value, key) {
    if (isToken(value)) return colour(value);
    if (key === "customdata" || key === "x" || key === "y") return value;
    if (Array.isArray(value)) return value.map((item) => resolve(item));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolve(item, name)]));
    }
    return value;
  }
  spanwise.resolveTokens = resolve;

  function useTheme() {
    const { useState, useEffect } = window.React;
    const [theme, setTheme] = useState(document.documentElement.dataset.theme);
    useEffect(() => {
      const follow = () => setTheme(document.documentElement.dataset.theme);
      window.addEventListener("spanwise-theme", follow);
      return () => window.removeEventListener("spanwise-theme", follow);
    }, []);
    return theme;
  }

  // A narrow window has room for three times below a chart.
  function fitTicks(figure) {
    const axis = figure.layout && figure.layout.xaxis;
    if (axis && axis.type === "date" && window.innerWidth <= 700) axis.nticks = 3;
    return figure;
  }

  function zoomTime(figure, relayout) {
    const meta = figure.layout.meta;
    if (!meta || !meta.zoomsTime || !relayout || relayout["xaxis.range[0]"] === undefined) return;
    const moment = (text) => Date.parse(String(text).replace(" ", "T") + "Z") - meta.offsetMs;
    const [start, end] = [moment(relayout["xaxis.range[0]"]), moment(relayout["xaxis.range[1]"])];
    if (end - start >= 1000) spanwise.setRange(start, end);
  }

  spanwise.Figure = function Figure(props) {
    const { createElement, useMemo, useRef } = window.React;
    const theme = useTheme();
    const text = JSON.stringify(props.figure);
    const before = useRef({});
    // The same figure must stay the same object, or the chart is drawn again at every refresh.
    const figure = useMemo(() => fitTicks(resolve(JSON.parse(text))), [text, theme]);
    before.current = props;
    const setProps = (changes) => {
      zoomTime(before.current.figure, changes.relayoutData);
      const heard = Object.fromEntries(Object.entries(changes).filter(([name]) => LISTENED.has(name)));
      if (Object.keys(heard).length) before.current.setProps(heard);
    };
    const listened = { clickData: props.clickData, selectedData: props.selectedData, hoverData: props.hoverData };
    return createElement(window.dash_core_components.Graph, {
      ...listened,
      id: typeof props.id === "object" ? JSON.stringify(props.id) : props.id,
      figure,
      config: CONFIG,
      responsive: true,
      style: { height: props.height },
      setProps,
    });
  };
})();
