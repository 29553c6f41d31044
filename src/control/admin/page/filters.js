// The filters: what they cost, how they failed, and what they logged last.

import { ago, byCount, bytes, count, dateTime, h, pairs, setText, span, sum } from "./dom.js";
import { Table } from "./table.js";

/** Every eighth callback is timed. */
const TIMED = 8;

const mean = (filter) => (filter.calls >= TIMED ? filter.seconds / (filter.calls / TIMED) : null);

export function filters() {
  let now = 0;
  const failed = ({ last_failure: last }) => (last ? `${last.reason}, ${ago(last.at, now)}` : "–");
  const table = new Table({
    caption: "Filters",
    key: (filter) => filter.filter,
    words: (filter) => [filter.filter, ...Object.keys(filter.failures)],
    sortedBy: 1,
    empty: "No route uses a filter.",
    columns: [
      { title: "Filter", sort: (filter) => filter.filter, text: (filter) => filter.filter },
      { title: "Calls", className: "number", sort: (filter) => filter.calls, text: (filter) => count(filter.calls) },
      { title: "Time of a call", className: "number", note: "mean; every eighth call is timed", sort: mean, text: (filter) => span(mean(filter)) },
      { title: "Instances", className: "number", sort: (filter) => filter.instances, text: (filter) => count(filter.instances) },
      { title: "Memory", className: "number", sort: (filter) => filter.memory_bytes, text: (filter) => bytes(filter.memory_bytes) },
      { title: "Failures", className: "number", sort: (filter) => sum(filter.failures), text: (filter) => count(sum(filter.failures)), kind: (filter) => (sum(filter.failures) ? "bad" : "") },
      { title: "Last failure", className: "number", sort: (filter) => filter.last_failure?.at ?? null, text: failed },
    ],
    details,
  });
  return {
    element: table.element,
    sources: ["filters"],
    update(status, report) {
      now = status.now;
      table.update(report.filters);
    },
  };
}

/** The opened row of a filter: its last failure with the guest's functions, its last lines, and its failures by reason. */
function details({ filter: name }) {
  const failure = block(`Last failure of ${name}`, "There was none.");
  const lines = block(`Last log lines of ${name}`, "It has logged nothing that the level of the log lets through.");
  const reasons = h("div");
  const element = h("div", {},
    h("h3", {}, "Last failure"), failure.element,
    h("h3", {}, "Last log lines"), lines.element,
    h("h3", {}, "Failures by reason"), reasons);
  return {
    element,
    update({ last_failure: last, last_lines: logged, failures }) {
      failure.update(last ? `${dateTime(last.at)}  ${last.reason}\n${last.text}` : "");
      const wasAtEnd = lines.isAtEnd();
      lines.update(logged.map(({ at, level, text }) => `${dateTime(at)}  ${level.toUpperCase().padEnd(5)}  ${text}`).join("\n"));
      if (wasAtEnd) lines.toEnd();
      const counts = byCount(failures).map(([reason, value]) => [reason, count(value)]);
      reasons.replaceChildren(counts.length ? pairs(counts) : h("p", { className: "dim" }, "There were none."));
    },
  };
}

/** A text of several lines that the keyboard can scroll, or a sentence if there is none. Updates leave focus and selection in place. */
function block(label, none) {
  const pre = h("pre", { className: "wrapped", tabIndex: 0, role: "region", "aria-label": label });
  const absent = h("p", { className: "dim" }, none);
  return {
    element: h("div", { className: "block" }, absent, pre),
    update(text) {
      setText(pre, text);
      pre.hidden = !text;
      absent.hidden = Boolean(text);
    },
    isAtEnd: () => pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 2,
    toEnd: () => { pre.scrollTop = pre.scrollHeight; },
  };
}
