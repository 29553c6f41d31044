// Elements and texts. Data reach the page as text nodes and attributes only, never as markup.

/** Returns an element. `props` are properties, or attributes where a property of that name does not exist. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text of an element, unless it has it: most numbers of a table do not change between two updates. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A description list of pairs. Pairs without a value are left out. */
export function pairs(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { className: "pairs" }, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export const badge = (text, kind = "") => h("span", { className: `badge ${kind}` }, text);

const whole = new Intl.NumberFormat("en");

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));

export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(value < 1 ? 2 : 1) : whole.format(Math.round(value));
}

export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  if (share === 0 || share === 1) return `${share * 100} %`;
  return share < 0.001 ? "< 0.1 %" : share > 0.999 ? "> 99.9 %" : `${(share * 100).toFixed(1)} %`;
}

/** A time span in its natural unit, from microseconds to days. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export function ago(unix, now) {
  if (!unix) return "never";
  const seconds = Math.max(0, now - unix);
  return seconds < 2 ? "now" : `${span(Math.round(seconds))} ago`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const unit = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (value >= 1024 && power < unit.length - 1) { value /= 1024; power += 1; }
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${unit[power]}`;
}

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");
export const dateTime = (unix) => new Date(unix * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** The entries of an object of counts, the largest first. */
export const byCount = (counts) => Object.entries(counts ?? {}).sort(([, one], [, other]) => other - one);

export const sum = (counts) => Object.values(counts ?? {}).reduce((total, value) => total + value, 0);
