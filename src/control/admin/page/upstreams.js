// The upstreams, and the health of their endpoints.

import { badge, byCount, count, dateTime, h, span, sum } from "./dom.js";
import { Table } from "./table.js";

const KIND = { healthy: "good", starting: "warn", unhealthy: "bad", ejected: "bad" };
const DAY = 86400;
const LATENCY = "from the end of a request to the head of its response, over the last minutes";

function health() {
  const element = h("div");
  return {
    element,
    update({ endpoint }) {
      const text = `${endpoint.health} ${endpoint.reason ?? ""}`;
      if (element.dataset.text === text) return;
      element.dataset.text = text;
      const reason = endpoint.reason && h("span", { className: endpoint.health === "healthy" ? "sub" : "" }, endpoint.health === "healthy" ? ` last failure: ${endpoint.reason}` : ` ${endpoint.reason}`);
      element.replaceChildren(badge(endpoint.health, KIND[endpoint.health]), reason || "");
    },
  };
}

function address({ endpoint }) {
  if (!endpoint.address) return "not resolved yet";
  return endpoint.url.includes(endpoint.address) ? "–" : endpoint.address;
}

export function upstreams() {
  let now = 0;
  const expiry = ({ endpoint }) => endpoint.certificate_expires ?? null;
  const listed = (counts) => byCount(counts).map(([name, value]) => `${name}\u00a0${count(value)}`).join(", ");
  const table = new Table({
    caption: "Upstreams",
    key: ({ upstream, endpoint }) => [upstream.name, upstream.owner, endpoint.url, endpoint.address].join("\n"),
    words: ({ upstream, endpoint }) => [upstream.name, endpoint.url, endpoint.address, endpoint.health, ...upstream.routes],
    sortedBy: 0,
    descending: false,
    empty: "No route forwards to an upstream.",
    columns: [
      { title: "Upstream", sort: ({ upstream }) => upstream.name, text: ({ upstream }) => upstream.name },
      { title: "Endpoint", sort: ({ endpoint }) => endpoint.url, text: ({ endpoint }) => endpoint.url, className: "wide" },
      { title: "Address", note: "unless the URL has it", sort: ({ endpoint }) => endpoint.address, text: address },
      { title: "Health", className: "wide", sort: ({ endpoint }) => (endpoint.health === "healthy" ? 0 : 1), node: health },
      { title: "Breaker", text: ({ upstream }) => upstream.breaker ?? "–", kind: ({ upstream }) => (upstream.breaker === "open" ? "bad" : "") },
      { title: "Weight", className: "number", sort: ({ weight }) => weight, text: ({ weight }) => count(weight) },
      { title: "Requests", className: "number", note: "under way or waiting, of the limit", sort: ({ endpoint }) => endpoint.requests,
        text: ({ endpoint }) => (endpoint.max_concurrent ? `${count(endpoint.requests)} of ${count(endpoint.max_concurrent)}` : count(endpoint.requests)) },
      { title: "Responses", note: "by class of the status, since the pool was made", sort: ({ endpoint }) => sum(endpoint.responses), text: ({ endpoint }) => listed(endpoint.responses) },
      { title: "No response", note: "attempts that failed by the connection or the time, since the pool was made", sort: ({ endpoint }) => sum(endpoint.failures), text: ({ endpoint }) => listed(endpoint.failures) },
      { title: "p50", note: LATENCY, className: "number", sort: ({ endpoint }) => endpoint.p50_seconds, text: ({ endpoint }) => span(endpoint.p50_seconds) },
      { title: "p99", note: LATENCY, className: "number", sort: ({ endpoint }) => endpoint.p99_seconds, text: ({ endpoint }) => span(endpoint.p99_seconds) },
      { title: "Certificate", note: "the server's, as of the last handshake", sort: expiry, text: (row) => (expiry(row) ? `until ${dateTime(expiry(row))}` : "–"),
        kind: (row) => (expiry(row) && expiry(row) - now < 14 * DAY ? "bad" : "") },
    ],
  });
  return {
    element: table.element,
    sources: ["upstreams"],
    update(status, report) {
      now = status.now;
      table.update(report.upstreams.flatMap((upstream) => {
        const weight = Object.fromEntries(upstream.targets.map((target) => [target.url, target.weight]));
        return upstream.endpoints.map((endpoint) => ({ upstream, endpoint, weight: weight[endpoint.url] ?? null }));
      }));
    },
  };
}
