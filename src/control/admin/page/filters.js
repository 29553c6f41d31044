// The filters: what they cost, and how they failed.

import { byCount, bytes, count, dateTime, h, pairs, span, sum } from "./dom.js";
import { Table } from "./table.js";

/** Every eighth callback is timed. */
const TIMED = 8;

const mean = (filter) => (filter.calls >= TIMED ? filter.seconds / (filter.calls / TIMED) : null);

export function filters() {
  const table = new Table({
    caption: "Filters",
    key: (filter) => filter.filter,
    words: (filter) => [filter.filter],
    sortedBy: 1,
    empty: "No route uses a filter.",
    columns: [
      { title: "Filter", sort: (filter) => filter.filter, text: (filter) => filter.filter },
      { title: "Calls", className: "number", sort: (filter) => filter.calls, text: (filter) => count(filter.calls) },
      { title: "Time of a call", className: "number", note: "mean; every eighth call is timed", sort: mean, text: (filter) => span(mean(filter)) },
      { title: "Instances", className: "number", sort: (filter) => filter.instances, text: (filter) => count(filter.instances) },
      { title: "Memory", className: "number", sort: (filter) => filter.memory_bytes, text: (filter) => bytes(filter.memory_bytes) },
      { title: "Failures", className: "number", sort: (filter) => sum(filter.failures), text: (filter) => count(sum(filter.failures)), kind: (filter) => (sum(filter.failures) ? "bad" : "") },
    ],
    details: () => {
      const element = h("div");
      return { element, update: (filter) => element.replaceChildren(...details(filter)) };
    },
  });
  return { element: table.element, sources: ["filters"], update: (status, report) => table.update(report.filters) };
}

function details(filter) {
  const failures = byCount(filter.failures).map(([reason, value]) => [reason, count(value)]);
  const parts = [h("h3", {}, "Failures by reason"), failures.length ? pairs(failures) : h("p", { className: "dim" }, "There were none.")];
  const last = filter.last_failure;
  if (last) {
    parts.push(h("h3", {}, `Last failure, ${dateTime(last.at)}: ${last.reason}`), h("pre", { tabIndex: 0 }, last.text));
  }
  if (filter.last_lines?.length) parts.push(h("h3", {}, "Its last lines"), h("pre", { tabIndex: 0 }, filter.last_lines.join("\n")));
  return parts;
}
