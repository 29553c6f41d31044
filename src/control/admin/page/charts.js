// Line charts, drawn as SVG. A chart is a figure: its caption has the present values as text, for readers who do not see it.

import { clock, h } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 120;
const LEFT = 46;
const BOTTOM = 16;

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Returns the smallest of 1, 2, 5, 10, 20 … that is not below a value. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/**
 * A chart over time. `series` are `{ name, color, dash }`; `format` turns a value into text. `update(times, columns)` takes Unix times and
 * an array of values for each series, in which null is a gap.
 */
export class Chart {
  constructor({ title, series, format, least = 0 }) {
    this.series = series;
    this.format = format;
    this.least = least;
    this.keys = series.map(({ name, color }) => h("span", { className: "key", style: `--swatch: ${color}` }, name));
    this.drawing = svg("svg", { height: HEIGHT, role: "img" });
    this.element = h("figure", { className: "card" }, h("figcaption", {}, h("strong", {}, title), this.keys), this.drawing);
    this.title = title;
    this.drawing.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.drawing.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  update(times, columns) {
    this.times = times;
    this.columns = columns;
    this.draw();
    this.point(null);
  }

  draw() {
    const { times, columns } = this;
    const width = this.drawing.clientWidth;
    if (!times || !width) return;
    const first = times[0] ?? 0;
    const last = times.at(-1) ?? 1;
    const largest = Math.max(this.least, ...columns.flatMap((column) => column.filter((value) => value !== null)));
    const top = roundUp(largest);
    this.x = (time) => LEFT + ((time - first) / Math.max(1, last - first)) * (width - LEFT - 4);
    const y = (value) => 4 + (1 - value / top) * (HEIGHT - BOTTOM - 4);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(top * share), y2: y(top * share) }));
      const label = svg("text", { class: "tick", x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" });
      label.textContent = this.format(top * share);
      parts.push(label);
    }
    if (times.length > 1) {
      for (const [time, anchor] of [[first, "start"], [last, "end"]]) {
        const label = svg("text", { class: "tick", x: this.x(time), y: HEIGHT - 1, "text-anchor": anchor });
        label.textContent = clock(time);
        parts.push(label);
      }
    }
    this.series.forEach(({ color, dash }, index) => {
      const line = svg("path", { class: "line", d: this.path(columns[index], y) });
      line.style.stroke = color;
      if (dash) line.style.strokeDasharray = dash;
      parts.push(line);
    });
    this.cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.drawing.replaceChildren(...parts, this.cursor);
  }

  path(values, y) {
    let text = "";
    let pen = "M";
    values.forEach((value, index) => {
      if (value === null || value === undefined) { pen = "M"; return; }
      text += `${pen}${this.x(this.times[index]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    });
    return text;
  }

  /** Shows the values at a place, or the last ones. */
  point(offset) {
    const { times, columns } = this;
    if (!times?.length || !this.x) return;
    let index = times.length - 1;
    if (offset !== null) {
      times.forEach((time, candidate) => {
        if (Math.abs(this.x(time) - offset) < Math.abs(this.x(times[index]) - offset)) index = candidate;
      });
      this.cursor?.setAttribute("x1", this.x(times[index]));
      this.cursor?.setAttribute("x2", this.x(times[index]));
    }
    this.cursor?.setAttribute("visibility", offset === null ? "hidden" : "visible");
    const texts = this.series.map(({ name }, number) => {
      const value = columns[number][index];
      return `${name} ${value === null || value === undefined ? "–" : this.format(value)}`;
    });
    texts.forEach((text, number) => { this.keys[number].textContent = text; });
    this.drawing.setAttribute("aria-label", `${this.title}, ${clock(times[index])}: ${texts.join(", ")}`);
  }
}

/** Asks for something that costs more than a count, once in ten seconds while its section is shown. */
export class Rarely {
  constructor(ask, show, fail) {
    Object.assign(this, { ask, show, fail, asked: -Infinity, isClosed: false });
  }

  async look(...paths) {
    if (performance.now() - this.asked < 10_000) return;
    this.asked = performance.now();
    try {
      const answers = await Promise.all(paths.map((path) => this.ask(path)));
      if (!this.isClosed) this.show(...answers.map((answer) => answer.value));
    } catch (error) {
      this.asked = -Infinity;
      if (!this.isClosed) this.fail?.(error);
    }
  }

  close() {
    this.isClosed = true;
  }
}
