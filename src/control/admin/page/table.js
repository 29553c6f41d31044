// A table that is sorted and searched here, and that keeps its rows between updates: only what changed is written.

import { count, h, setText } from "./dom.js";

/**
 * `columns` are `{ title, sort, text, node, className, note }`: `sort` returns what rows are sorted by, `text` the text of a cell, and `node` an
 * element that `update` of it changes. The first column is the head of its row. `key` names a row, `words` is what a search looks in, and
 * `details` returns the element of an opened row and a function that updates it.
 */
export class Table {
  constructor({ caption, columns, key, words, details, sortedBy = 0, descending = true, empty = "There is nothing to show." }) {
    Object.assign(this, { columns, key, words, details, sortedBy, descending, empty });
    this.rows = new Map();
    this.opened = new Map();
    this.heads = columns.map((column, index) => {
      const button = column.sort ? h("button", { type: "button", onclick: () => this.sortBy(index) }, column.title) : column.title;
      return h("th", { scope: "col", className: column.className ?? "", title: column.note }, button);
    });
    this.body = h("tbody");
    this.search = h("input", { type: "search", placeholder: "Search", "aria-label": `Search ${caption}`, oninput: () => this.arrange() });
    this.shown = h("span", { className: "count", role: "status" });
    const table = h("table", {}, h("caption", { className: "visually-hidden" }, caption), h("thead", {}, h("tr", {}, this.heads)), this.body);
    this.element = h("section", {}, h("div", { className: "toolbar" }, this.search, this.shown), h("div", { className: "scroll" }, table));
  }

  sortBy(index) {
    this.descending = this.sortedBy === index ? !this.descending : this.columns[index].className === "number";
    this.sortedBy = index;
    this.arrange();
  }

  update(data) {
    const gone = new Set(this.rows.keys());
    for (const datum of data) {
      const key = this.key(datum);
      gone.delete(key);
      const row = this.rows.get(key) ?? this.add(key, datum);
      row.datum = datum;
      row.words = this.words(datum).join(" ").toLowerCase();
      row.updates.forEach((update) => update(datum));
      this.opened.get(key)?.update?.(datum);
    }
    for (const key of gone) {
      this.rows.get(key).element.remove();
      this.rows.delete(key);
      this.close(key);
    }
    this.arrange();
  }

  add(key, datum) {
    const updates = [];
    const cells = this.columns.map((column, index) => {
      const cell = h(index ? "td" : "th", { className: column.className ?? "", scope: index ? null : "row" });
      if (column.node) {
        const { element, update } = column.node(datum);
        cell.append(element);
        updates.push(update);
      } else {
        const target = index === 0 && this.details ? this.opener(key) : cell;
        if (target !== cell) cell.append(target);
        updates.push((now) => setText(target, String(column.text(now))));
        if (column.kind) updates.push((now) => { cell.className = `${column.className ?? ""} ${column.kind(now)}`; });
      }
      return cell;
    });
    const row = { element: h("tr", {}, cells), updates };
    this.rows.set(key, row);
    return row;
  }

  opener(key) {
    const button = h("button", { type: "button", className: "row", "aria-expanded": "false" });
    button.addEventListener("click", () => (this.opened.has(key) ? this.close(key) : this.open(key, button)));
    return button;
  }

  open(key, button) {
    const { datum, element } = this.rows.get(key);
    const made = this.details(datum);
    const details = h("tr", { className: "details" }, h("td", { colSpan: this.columns.length }, made.element));
    element.classList.add("open");
    element.after(details);
    button.setAttribute("aria-expanded", "true");
    this.opened.set(key, { details, button, update: made.update, close: made.close });
    made.update?.(datum);
  }

  close(key) {
    const opened = this.opened.get(key);
    if (!opened) return;
    opened.close?.();
    opened.details.remove();
    opened.button.setAttribute("aria-expanded", "false");
    this.rows.get(key)?.element.classList.remove("open");
    this.opened.delete(key);
  }

  /** Puts the rows in order, and takes those out that the search does not find. Rows that are in their place are not touched. */
  arrange() {
    const wanted = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const { sort } = this.columns[this.sortedBy];
    const found = [...this.rows].filter(([, row]) => wanted.every((word) => row.words.includes(word)));
    const valued = found.map(([key, row]) => ({ key, row, value: sort(row.datum) }));
    const direction = this.descending ? -1 : 1;
    valued.sort((one, other) => {
      if (one.value === other.value) return one.key < other.key ? -1 : 1;
      if (one.value === null || one.value === undefined) return 1;
      if (other.value === null || other.value === undefined) return -1;
      return (one.value < other.value ? -1 : 1) * direction;
    });
    this.heads.forEach((head, index) => {
      if (index === this.sortedBy) head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const order = valued.flatMap(({ key, row }) => [row.element, this.opened.get(key)?.details].filter(Boolean));
    if (!order.length) order.push(h("tr", {}, h("td", { colSpan: this.columns.length, className: "dim" }, this.rows.size ? "No row has these words." : this.empty)));
    place(this.body, order);
    setText(this.shown, wanted.length ? `${count(valued.length)} of ${count(this.rows.size)}` : count(this.rows.size));
  }
}

/** Makes these the children of an element, moving as few as it can: focus and selection stay where they are. */
function place(parent, children) {
  const kept = new Set(children);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}
