// The routes, and the requests that they serve.

import { ago, byCount, bytes, count, h, pairs, percent, rate, span, sum } from "./dom.js";
import { Table } from "./table.js";

const recent = (key) => (route) => route.recent?.[key] ?? null;

export function routes() {
  let now = 0;
  const served = (route) => (route.upstreams.length ? route.upstreams.join(", ") : route.action);
  const table = new Table({
    caption: "Routes",
    key: (route) => route.name,
    words: (route) => [route.name, route.match, served(route), ...route.listeners, ...route.filters, ...route.auth],
    sortedBy: 3,
    columns: [
      { title: "Route", sort: (route) => route.name, text: (route) => (route.name === "-" ? "no route" : route.name) },
      { title: "Match", sort: (route) => route.match, text: (route) => route.match, className: "wide" },
      { title: "Upstream", sort: served, text: served, className: "wide" },
      { title: "Requests/s", note: "over the last minute", className: "number", sort: recent("rate"), text: (route) => rate(route.recent?.rate) },
      { title: "Failed", note: "share over the last minute", className: "number", sort: recent("error_share"), text: (route) => percent(route.recent?.error_share),
        kind: (route) => (route.recent?.error_share > 0.01 ? "bad" : "") },
      { title: "First reason", note: "the most frequent reason of failures since the route was made", text: (route) => byCount(route.errors)[0]?.[0] ?? "", sort: (route) => byCount(route.errors)[0]?.[1] ?? 0, className: "wide" },
      { title: "p50", className: "number", sort: recent("p50_seconds"), text: (route) => span(route.recent?.p50_seconds) },
      { title: "p99", className: "number", sort: recent("p99_seconds"), text: (route) => span(route.recent?.p99_seconds) },
      { title: "In flight", className: "number", sort: (route) => route.in_flight, text: (route) => count(route.in_flight) },
      { title: "Requests", className: "number", sort: (route) => sum(route.requests), text: (route) => count(sum(route.requests)) },
      { title: "Last use", className: "number", sort: (route) => route.last_used ?? 0, text: (route) => ago(route.last_used, now) },
    ],
    details: () => {
      const element = h("div", { className: "columns" });
      return { element, update: (route) => element.replaceChildren(...details(route)) };
    },
  });
  return {
    element: table.element,
    sources: ["routes"],
    update(status, report) {
      now = status.now;
      table.update(report.routes);
    },
  };
}

function counts(title, entries, none) {
  const list = entries.length ? pairs(entries.map(([name, value]) => [name, count(value)])) : h("p", { className: "dim" }, none);
  return h("div", {}, h("h3", {}, title), list);
}

function details(route) {
  return [
    h("div", {}, h("h3", {}, "Settings"), pairs([
      ["listeners", route.listeners.join(", ") || "all"], ["action", route.action], ["upstreams", route.upstreams.join(", ")],
      ["authentication", route.auth.join(", ")], ["filters", route.filters.join(" → ")],
    ])),
    counts("Responses", byCount(route.requests), "There were none yet."),
    counts("Failures by reason", byCount(route.errors), "There were none."),
    h("div", {}, h("h3", {}, "Bodies and time"), pairs([
      ["received", bytes(route.request_body_bytes)], ["sent", bytes(route.response_body_bytes)],
      ["mean time", sum(route.requests) ? span(route.duration_seconds / sum(route.requests)) : null],
      ["p90", route.recent?.p90_seconds ? span(route.recent.p90_seconds) : null],
    ])),
  ];
}
