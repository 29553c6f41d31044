// The first section: what is wrong, and how much goes on.

import { Chart, Rarely } from "./charts.js";
import { count, h, percent, rate, setText, span } from "./dom.js";

function tile(title) {
  const figure = h("div", { className: "figure" }, "–");
  const note = h("div", { className: "note" });
  return { element: h("div", { className: "card tile" }, h("dt", {}, title), h("dd", {}, figure, note)), figure, note };
}

export function overview(ask) {
  const concerns = h("ul", { className: "concerns", "aria-label": "Problems", "aria-live": "polite" });
  const tiles = {
    rate: tile("Requests"), errors: tile("Failed"), latency: tile("Latency"),
    clients: tile("Clients' connections"), pools: tile("Upstream connections"), waiting: tile("Waiting for a connection"),
  };
  const charts = {
    rate: new Chart({ title: "Requests a second", format: rate, series: [
      { name: "all", color: "var(--used)" }, { name: "failed", color: "var(--bad)" }] }),
    latency: new Chart({ title: "Latency", format: span, series: [
      { name: "p50", color: "var(--used)" }, { name: "p99", color: "var(--second)" }] }),
    pools: new Chart({ title: "Upstream connections", format: count, series: [
      { name: "in use", color: "var(--used)" }, { name: "idle", color: "var(--idle)" }, { name: "requests waiting", color: "var(--waiting)" }] }),
  };
  const element = h("div", {}, concerns,
    h("dl", { className: "tiles" }, Object.values(tiles).map((one) => one.element)),
    h("div", { className: "charts" }, Object.values(charts).map((one) => one.element)));

  function list(problems) {
    const lines = problems.map(({ severity, name, text }) => ({ className: severity, text: name ? `${name}: ${text}` : text }));
    if (!lines.length) lines.push({ className: "fine", text: "Nothing is wrong at the moment." });
    const known = [...concerns.children].map((line) => line.textContent).join("\n");
    // Screen readers read it again whenever it is written.
    if (known !== lines.map((line) => line.text).join("\n")) concerns.replaceChildren(...lines.map(({ className, text }) => h("li", { className }, text)));
  }

  function figure(name, text, note, kind = "") {
    setText(tiles[name].figure, text);
    tiles[name].figure.className = `figure ${kind}`;
    setText(tiles[name].note, note);
  }

  const rarely = new Rarely(ask, ({ at, interval_seconds: interval, pools, process }) => {
    const perSecond = (counts) => counts.map((value) => value / interval);
    charts.rate.update(at, [perSecond(process.requests), perSecond(process.errors)]);
    charts.latency.update(at, [process.p50_seconds, process.p99_seconds]);
    charts.pools.update(at, [pools.active, pools.idle, pools.pending]);
  });

  return {
    element,
    close: () => rarely.close(),
    sources: ["pools"],
    update(status, { pools }) {
      const recent = status.recent ?? {};
      const total = (key) => pools.reduce((sum, pool) => sum + pool[key], 0);
      const [active, idle, connecting, pending] = ["active", "idle", "connecting", "pending"].map(total);
      list(status.problems);
      figure("rate", rate(recent.rate), `a second; ${count(status.requests_in_flight)} in flight`);
      figure("errors", percent(recent.error_share), "of the requests of the last minute", recent.error_share > 0.01 ? "bad" : "");
      figure("latency", span(recent.p50_seconds), `p50; p99 ${span(recent.p99_seconds)}`);
      figure("clients", count(status.client_connections), `${count(status.workers)} workers`);
      figure("pools", count(active + idle + connecting), `${count(active)} in use, ${count(idle)} idle, ${count(connecting)} being opened`);
      figure("waiting", count(pending), pending ? "see Pools" : "none", pending ? "warn" : "");
      rarely.look("history");
    },
  };
}
