// Puts a newly made part of the frame in place of the one shown, changing only what differs.
// Dash itself would throw the whole part away and build it anew: scroll, hover and typed text would be gone.
(function () {
  "use strict";
  const spanwise = (window.spanwise = window.spanwise || {});
  const shown = {};
  const isComponent = (value) => value !== null && typeof value === "object" && "namespace" in value && "props" in value;
  const isSame = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
  const isTwin = (a, b) =>
    isComponent(a) && isComponent(b) && a.namespace === b.namespace && a.type === b.type &&
    isSame(a.props.id, b.props.id) && a.props.key === b.props.key;

  // Collect in `changes` what makes the shown component into the next one.
  function compare(before, next, path, changes) {
    const props = {};
    for (const name of new Set([...Object.keys(before.props), ...Object.keys(next.props)])) {
      if (name !== "children" && !isSame(before.props[name], next.props[name])) props[name] = next.props[name] ?? null;
    }
    const inside = [];
    if (!compareChildren(before.props.children, next.props.children, [...path, "props", "children"], inside)) {
      props.children = next.props.children ?? null;
      inside.length = 0;
    }
    if (Object.keys(props).length) changes.push({ place: next.props.id ?? path, props });
    changes.push(...inside);
  }

  // False when the children differ in more than what their twins can take over.
  function compareChildren(before, next, path, changes) {
    if (isTwin(before, next)) {
      compare(before, next, path, changes);
      return true;
    }
    if (!Array.isArray(before) || !Array.isArray(next) || before.length !== next.length) return isSame(before, next);
    return before.every((child, i) => {
      if (!isTwin(child, next[i])) return isSame(child, next[i]);
      compare(child, next[i], [...path, i], changes);
      return true;
    });
  }

  const hasId = (value) =>
    Array.isArray(value) ? value.some(hasId) : isComponent(value) && (value.props.id !== undefined || hasId(value.props.children));

  function findPath(component, id, path) {
    if (!isComponent(component)) return null;
    if (component.props.id === id) return path;
    const children = component.props.children;
    const list = Array.isArray(children) ? children : [children];
    for (let i = 0; i < list.length; i += 1) {
      const place = Array.isArray(children) ? [...path, "props", "children", i] : [...path, "props", "children"];
      const found = findPath(list[i], id, place);
      if (found) return found;
    }
    return null;
  }

  // Clientside callback: `next` is the component that belongs into the callback's output.
  spanwise.place = function (next) {
    const { no_update: noUpdate, set_props: setProps, callback_context: context } = window.dash_clientside;
    const target = context.outputs_list.id;
    const before = shown[target];
    if (!next) return noUpdate;
    shown[target] = next;
    const root = findPath(window.dash_component_api.getLayout(["components"]), target, ["components"]);
    if (!root || !isTwin(before, next)) return next;
    const changes = [];
    compare(before, next, [...root, "props", "children"], changes);
    // New components with an id may be inputs of callbacks; Dash finds those only in what a callback returns.
    if (changes.some((change) => hasId(change.props.children))) return next;
    for (const { place, props } of changes) setProps(place, props);
    return noUpdate;
  };
})();
