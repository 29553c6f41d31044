// The page: asks the API for what the shown section needs, as long as someone looks at it.

import { badge, clock, count, h, setText } from "./dom.js";
import { overview } from "./overview.js";
import { routes } from "./routes.js";
import { pools } from "./pools.js";
import { upstreams } from "./upstreams.js";
import { filters } from "./filters.js";
import { configuration } from "./configuration.js";

const SECTIONS = { overview, routes, pools, upstreams, filters, configuration };
/** Seconds between two updates; for answers of more characters than this, more. */
const EVERY = 2;
const LARGE = 250_000;
const PATIENCE = 10_000;
const TOKEN = "gateway-admin-token";
const THEME = "gateway-theme";

const byId = (id) => document.getElementById(id);
const state = { section: null, view: null, paused: false, timer: null, running: 0, updated: null, slow: false };

class NeedsToken extends Error {}

/** Returns what the API answers, and its size in characters. */
async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { Accept: "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(`/api/${path}`, { headers, signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  if (response.status === 401) throw new NeedsToken();
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}: ${text.slice(0, 300)}`);
  return { value: response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text, size: text.length };
}

async function update() {
  clearTimeout(state.timer);
  const run = ++state.running;
  const { view } = state;
  try {
    const names = ["status", ...view.sources];
    const answers = await Promise.all(names.map((name) => ask(typeof name === "function" ? name() : name)));
    if (run !== state.running) return;
    const [status, ...rest] = answers.map((answer) => answer.value);
    state.slow = answers.some((answer) => answer.size > LARGE);
    state.updated = status.now;
    byId("token").hidden = true;
    byId("alert").hidden = true;
    head(status);
    view.update(status, ...rest);
  } catch (error) {
    if (run !== state.running) return;
    byId("token").hidden = !(error instanceof NeedsToken);
    const message = error.name === "TimeoutError" || error instanceof TypeError
      ? "The gateway does not answer. The numbers are those of the last answer." : error.message;
    const alert = byId("alert");
    alert.hidden = error instanceof NeedsToken;
    setText(alert, message);
  }
  if (run === state.running) schedule();
}

function schedule() {
  clearTimeout(state.timer);
  if (!state.paused && !document.hidden) state.timer = setTimeout(update, (state.slow ? 3 : 1) * EVERY * 1000);
  setText(byId("freshness"), state.paused ? "paused" : state.updated ? `as of ${clock(state.updated)}` : "");
}

function head(status) {
  const problems = status.problems.length;
  setText(byId("version"), status.version);
  const kind = status.ready ? (problems ? "warn" : "good") : "bad";
  byId("state").replaceWith(Object.assign(badge(status.state, kind), { id: "state" }));
  setText(byId("generation"), `configuration ${count(status.generation)}${status.in_sync ? "" : ", not the one on disk"}`);
  byId("generation").className = status.in_sync ? "dim" : "bad";
  document.title = problems ? `(${problems}) gateway` : "gateway";
}

function show() {
  const name = location.hash.slice(1) in SECTIONS ? location.hash.slice(1) : "overview";
  if (name === state.section) return;
  const moved = state.section !== null;
  state.section = name;
  state.view?.close?.();
  state.view = SECTIONS[name](ask);
  document.querySelectorAll("nav a").forEach((link) => {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  const heading = h("h2", { className: "visually-hidden" }, name[0].toUpperCase() + name.slice(1));
  byId("main").replaceChildren(heading, state.view.element);
  if (moved) byId("main").focus();
  update();
}

function pause() {
  state.paused = !state.paused;
  byId("pause").setAttribute("aria-pressed", String(state.paused));
  setText(byId("pause"), state.paused ? "Go on" : "Pause");
  if (state.paused) schedule();
  else update();
}

function theme(next) {
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  setText(byId("theme"), `Theme: ${next || "system"}`);
}

byId("pause").addEventListener("click", pause);
byId("theme").addEventListener("click", () => {
  const next = { "": "light", light: "dark", dark: "" }[localStorage.getItem(THEME) ?? ""];
  localStorage.setItem(THEME, next);
  theme(next);
});
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token-value").value.trim());
  byId("token-value").value = "";
  update();
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(state.timer) : state.paused || update()));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /input|textarea/i.test(event.target.tagName)) return;
  const section = Object.keys(SECTIONS)[Number(event.key) - 1];
  if (section) location.hash = section;
  else if (event.key === "p") pause();
  else if (event.key === "/") {
    event.preventDefault();
    document.querySelector("main input[type=search]")?.focus();
  }
});
addEventListener("hashchange", show);
theme(localStorage.getItem(THEME) ?? "");
show();
