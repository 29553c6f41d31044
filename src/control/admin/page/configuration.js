// The configuration: what runs, what the last reloads changed, and what keeps a file from running.

import { badge, byCount, count, dateTime, h, pairs, setText, span, sum } from "./dom.js";
import { Table } from "./table.js";

const DAY = 86400;

function changes(reload) {
  const lines = [];
  for (const [kind, section] of Object.entries(reload.changes ?? {})) {
    if (Array.isArray(section)) lines.push(...section.map((key) => `~ ${key}`));
    else lines.push(...section.added.map((name) => `+ ${kind}: ${name}`), ...section.changed.map((one) => `~ ${kind}: ${one.name} (${one.keys.join(", ")})`), ...section.drained.map((name) => `− ${kind}: ${name}`));
  }
  return lines.length ? h("pre", { tabIndex: 0 }, lines.join("\n")) : h("span", { className: "dim" }, "nothing that has an effect");
}

function errors(list) {
  return list.map(({ file, line, column, message, suggestion }) => h("p", {},
    h("code", {}, [file, line, column].filter((part) => part !== null).join(":")), " ", message, suggestion ? h("span", { className: "sub" }, ` — ${suggestion}`) : ""));
}

export function configuration(ask) {
  const state = h("div", { className: "card" });
  const reloads = h("div", {});
  const text = h("pre", { tabIndex: 0, "aria-label": "The active configuration" });
  const listeners = new Table({
    caption: "Listeners",
    key: (listener) => listener.name,
    words: (listener) => [listener.name, listener.address],
    descending: false,
    columns: [
      { title: "Listener", sort: (listener) => listener.name, text: (listener) => listener.name },
      { title: "Address", sort: (listener) => listener.address, text: (listener) => listener.address },
      { title: "Speaks", text: (listener) => `${listener.protocols.join(", ")}${listener.tls ? " on TLS" : ""}` },
      { title: "Connections", className: "number", sort: (listener) => listener.connections, text: (listener) => count(listener.connections) },
      { title: "Accepted", className: "number", sort: (listener) => listener.accepted, text: (listener) => count(listener.accepted) },
      { title: "TLS failures", className: "number", sort: (listener) => sum(listener.tls_failures), text: (listener) => count(sum(listener.tls_failures)) },
      { title: "Certificate until", sort: expiry, text: (listener) => (expiry(listener) ? dateTime(expiry(listener)) : "–"), kind: (listener) => (expiry(listener) && expiry(listener) * 1000 - Date.now() < 14 * DAY * 1000 ? "bad" : "") },
    ],
    details: () => {
      const element = h("div", { className: "columns" });
      return { element, update: (listener) => element.replaceChildren(...details(listener)) };
    },
  });
  let shown = null;
  return {
    element: h("div", {}, state, h("h2", {}, "Listeners"), listeners.element, h("h2", {}, "The last reloads"), reloads, h("h2", {}, "The file as it runs"), text),
    sources: ["reload", "reloads", "listeners"],
    update(status, reload, history, report) {
      listeners.update(report.listeners);
      const next = JSON.stringify([reload, history]);
      if (next === shown) return;
      shown = next;
      state.replaceChildren(
        h("p", {}, badge(`generation ${count(reload.generation)}`, "good"), ` active since ${dateTime(reload.live_since)}`,
          reload.in_sync ? "; the files on disk are the same." : "."),
        reload.in_sync ? "" : h("div", {}, h("h2", { className: "bad" }, "The files on disk were refused"), errors(reload.errors),
          reload.error_text ? h("pre", { tabIndex: 0 }, reload.error_text) : ""));
      reloads.replaceChildren(...(history.reloads.length ? history.reloads.map(past) : [h("p", { className: "dim" }, "There was none since the start.")]));
      ask("config").then((answer) => setText(text, numbered(answer.value))).catch((error) => setText(text, error.message));
    },
  };
}

function expiry(listener) {
  const times = (listener.certificates ?? []).map((certificate) => certificate.not_after);
  return times.length ? Math.min(...times) : null;
}

function details(listener) {
  const certificates = (listener.certificates ?? []).map((certificate) => [certificate.file, `${certificate.names.join(", ")}; until ${dateTime(certificate.not_after)}`]);
  const reasons = (counts) => pairs(byCount(counts).map(([reason, value]) => [reason, count(value)]));
  return [
    h("div", {}, h("h3", {}, "Connections ended"), reasons(listener.closed)),
    listener.tls ? h("div", {}, h("h3", {}, "TLS handshakes failed"), reasons(listener.tls_failures)) : "",
    certificates.length ? h("div", {}, h("h3", {}, "Certificates"), pairs(certificates)) : "",
  ];
}

function past(reload) {
  const isActive = reload.outcome === "active";
  const title = h("p", {}, badge(isActive ? `generation ${count(reload.generation)}` : "refused", isActive ? "good" : "bad"),
    ` ${dateTime(reload.at)}${isActive ? `, in ${span(reload.took_seconds)}` : ""}`);
  return h("div", { className: "card" }, title, isActive ? changes(reload) : errors(reload.errors));
}

const numbered = (text) => text.trimEnd().split("\n").map((line, index) => `${String(index + 1).padStart(4)}  ${line}`).join("\n");
