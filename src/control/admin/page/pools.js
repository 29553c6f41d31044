// The pools: connections against their limits, how they are used, and what would help.

import { Chart, Rarely } from "./charts.js";
import { byCount, count, h, pairs, percent, rate, setText, span } from "./dom.js";
import { Table } from "./table.js";

const used = (pool) => pool.idle + pool.active + pool.connecting;
const address = (pool) => (pool.address && !pool.endpoint.includes(pool.address) ? `${pool.endpoint} (${pool.address})` : pool.endpoint);
const reuse = (pool) => (pool.acquired ? pool.reused / pool.acquired : null);
const identify = (pool) => [pool.pool, pool.endpoint, pool.address, pool.draining].join("\n");

/** The bar of a pool: in use, being opened, idle, of the limit. */
function bar() {
  const parts = ["used", "opening", "idle"].map((name) => h("i", { className: name }));
  const drawing = h("div", { className: "bar", role: "img" }, parts);
  const label = h("span");
  const waiting = h("span", { className: "warn" });
  return {
    element: h("div", {}, label, " ", waiting, drawing),
    update(pool) {
      const limit = Math.max(pool.max_connections, used(pool), 1);
      [pool.active, pool.connecting, pool.idle].forEach((value, index) => {
        const width = `${(value / limit) * 100}%`;
        if (parts[index].style.width !== width) parts[index].style.width = width;
        parts[index].classList.toggle("some", value > 0);
      });
      const opening = pool.connecting ? `, ${count(pool.connecting)} opening` : "";
      setText(label, `${count(pool.active)} in use${opening}, ${count(pool.idle)} idle of ${count(pool.max_connections)}`);
      setText(waiting, pool.pending ? `${count(pool.pending)} waiting` : "");
      drawing.setAttribute("aria-label", `${label.textContent}${pool.pending ? `, ${pool.pending} requests waiting` : ""}`);
    },
  };
}

export function pools(ask) {
  const advice = h("div", { "aria-live": "polite" });
  const table = new Table({
    caption: "Pools",
    key: identify,
    words: (pool) => [pool.pool, pool.endpoint, pool.address, pool.health, ...pool.routes],
    sortedBy: 2,
    columns: [
      { title: "Pool", sort: (pool) => pool.pool, text: (pool) => `${pool.pool}${pool.draining ? " (draining)" : ""}` },
      { title: "Endpoint", sort: address, text: address, className: "wide" },
      { title: "Connections", sort: (pool) => pool.pending * 1e6 + used(pool), node: bar },
      { title: "Reused", className: "number", note: "share of the requests that got a connection used before, since the pool was made", sort: reuse, text: (pool) => percent(reuse(pool)) },
      { title: "Requests", className: "number", sort: (pool) => pool.acquired, text: (pool) => count(pool.acquired) },
      { title: "Opened", className: "number", sort: (pool) => pool.opened, text: (pool) => count(pool.opened) },
      { title: "Closed", className: "number", sort: (pool) => closed(pool), text: (pool) => count(closed(pool)) },
      { title: "Wait p99", className: "number", note: "until a request had a connection, over the last minutes", sort: (pool) => pool.recent?.acquire_p99_seconds ?? null, text: (pool) => span(pool.recent?.acquire_p99_seconds) },
      { title: "Learned idle time", className: "number", note: "after which the server was seen to close idle connections", sort: (pool) => pool.learned_idle_timeout_seconds, text: (pool) => span(pool.learned_idle_timeout_seconds) },
    ],
    details: (pool) => details(pool, ask),
  });
  const key = h("p", { className: "toolbar sub", "aria-hidden": "true" }, [["used", "in use"], ["opening", "being opened"], ["idle", "idle"], ["free", "up to the limit"]]
    .map(([name, text]) => h("span", { className: `key ${name}`, style: `background: none; --swatch: var(--${name})` }, text)));
  // It is about the last minutes, so it need not be asked for as often as the counts.
  const rarely = new Rarely(ask, ({ advice: found }) => {
    const texts = found.map(({ pool, endpoint, text }) => `${pool}, ${endpoint}: ${text}`);
    if (texts.join("\n") !== [...advice.children].map((line) => line.textContent).join("\n")) {
      advice.replaceChildren(...texts.map((text) => h("p", { className: "advice" }, text)));
    }
  });
  return {
    element: h("div", {}, advice, key, table.element),
    close: () => rarely.close(),
    sources: ["pools"],
    update(status, report) {
      table.update(report.pools);
      rarely.look("advice");
    },
  };
}

const closed = (pool) => Object.values(pool.closed).reduce((total, value) => total + value, 0);

/** The opened row of a pool: its last fifteen minutes, the kernel's count, and the reasons. */
function details(first, ask) {
  const charts = [
    new Chart({ title: "Connections", format: count, series: [
      { name: "in use", color: "var(--used)" }, { name: "idle", color: "var(--idle)" }, { name: "limit", color: "var(--dim)", dash: "4 3" }] }),
    new Chart({ title: "Requests waiting", format: count, series: [{ name: "waiting", color: "var(--waiting)" }] }),
    new Chart({ title: "Opened and closed a second", format: rate, series: [
      { name: "opened", color: "var(--used)" }, { name: "closed", color: "var(--second)" }] }),
  ];
  const kernel = h("p", { className: "sub" }, "The kernel is being asked …");
  const columns = h("div", { className: "columns" });
  const element = h("div", {}, kernel, h("div", { className: "charts" }, charts.map((chart) => chart.element)), columns);
  const rarely = new Rarely(ask, show, (error) => setText(kernel, error.message));

  function show({ at, interval_seconds: interval, pools: series }, counted) {
    const perSecond = (counts) => counts.map((value) => value / interval);
    charts[0].update(at, [series.active, series.idle, at.map(() => limit)]);
    charts[1].update(at, [series.pending]);
    charts[2].update(at, [perSecond(series.opened), perSecond(series.closed)]);
    setText(kernel, inKernel(counted, first.address));
  }

  let limit = first.max_connections;
  return {
    element,
    close: () => rarely.close(),
    update(pool) {
      limit = pool.max_connections;
      const recent = pool.recent ?? {};
      columns.replaceChildren(
        h("div", {}, h("h3", {}, "Closed by reason"), list(pool.closed, "None was closed yet.")),
        h("div", {}, h("h3", {}, "Refused by limit"), list(pool.refused, "No request was refused.")),
        h("div", {}, h("h3", {}, `The last ${span(recent.seconds)}`), pairs([
          ["requests a second", rate(recent.rate)], ["reused", percent(recent.reuse_share)],
          ["until a connection", `p50 ${span(recent.acquire_p50_seconds)}, p99 ${span(recent.acquire_p99_seconds)}`],
          ["limit reached", percent(recent.max_connections_reached_share)], ["most requests at once", count(recent.peak_requests)],
          ["TLS handshakes awaited", recent.tls_handshakes ? `${count(recent.tls_handshakes_awaited)} of ${count(recent.tls_handshakes)}` : null],
        ])),
        h("div", {}, h("h3", {}, "Since the pool was made"), pairs([
          ["routes", pool.routes.join(", ")], ["HTTP/2 streams", pool.streams || null], ["could not connect", count(pool.connect_failed)],
          ["retried", count(pool.retried)], ["borrowed from another worker", pool.borrowed ? count(pool.borrowed) : null],
          ["TLS handshakes", pool.tls_handshakes ? `${count(pool.tls_handshakes)}, of which ${count(pool.tls_resumed)} resumed a session` : null],
          ["requests at once", pool.max_concurrent ? `${count(pool.requests)} of ${count(pool.max_concurrent)}` : null],
          ["waited in total", span(pool.acquire_wait_seconds)],
        ])));
      const query = new URLSearchParams({ pool: pool.pool, endpoint: pool.endpoint, address: pool.address });
      rarely.look(`history?${query}`, "kernel");
    },
  };
}

/** A sentence about the kernel's count of the connections to an address, beside that of the pools. */
function inKernel(report, address) {
  if (report.error) return `The kernel's count is not available: ${report.error}`;
  const found = report.addresses.find((one) => one.address === address);
  if (!found) return "The kernel has no connection to this address.";
  const { kernel, gateway, agrees, pools: sharing } = found;
  const own = gateway.idle + gateway.active;
  const others = sharing.length > 1 ? ` (of the pools ${sharing.join(", ")} together)` : "";
  return `The kernel counts ${count(kernel.established)} ESTABLISHED connections to ${address}; the gateway counts ${count(own)}${others}. `
    + `${agrees ? "They agree." : "They differ, as they may while connections open and close."} TIME_WAIT: ${count(kernel.time_wait)}.`;
}

function list(counts, none) {
  const entries = byCount(counts);
  return entries.length ? pairs(entries.map(([name, value]) => [name, count(value)])) : h("p", { className: "dim" }, none);
}
