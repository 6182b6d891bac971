// Curves that zoom: drag over a stretch of iterations to see it alone, double-click for the whole. Boxes hide other rows.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, words) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words !== undefined) made.textContent = words;
  return made;
}

function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * (1 - 1e-9));
}

function ticks(low, high, most) {
  const step = roundStep((high - low) / most), decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push([i * step, (i * step).toFixed(decimals)]);
  return found;
}

class Chart {
  constructor(figure) {
    Object.assign(this, JSON.parse(figure.dataset.chart));
    this.svg = figure.querySelector("svg");
    this.shown = this.lines.map(() => true);
    this.whole = [Math.min(...this.lines.map((l) => l.x[0])), Math.max(...this.lines.map((l) => l.x[l.x.length - 1]))];
    this.range = this.whole;
    this.legend(figure);
    this.svg.addEventListener("pointerdown", (event) => this.start(event));
    this.svg.addEventListener("pointermove", (event) => this.move(event));
    this.svg.addEventListener("pointerup", (event) => this.end(event));
    this.svg.addEventListener("dblclick", () => this.zoom(this.whole));
    this.draw();
  }

  legend(figure) {
    const list = document.createElement("p");
    list.className = "lines";
    for (const [i, line] of this.lines.entries()) {
      const label = document.createElement("label"), box = document.createElement("input");
      Object.assign(box, { type: "checkbox", checked: true });
      box.addEventListener("change", () => { this.shown[i] = box.checked; this.draw(); });
      label.className = `l${i}`;
      label.append(box, line.name);
      list.append(label);
    }
    figure.querySelector("figcaption").before(list);
  }

  iteration(event) { // under the pointer, kept inside the plot
    const box = this.svg.getBoundingClientRect(), { left, right } = this.plot;
    const x = (event.clientX - box.left) * this.svg.viewBox.baseVal.width / box.width;
    return this.range[0] + (this.range[1] - this.range[0]) * Math.min(1, Math.max(0, (x - left) / (right - left)));
  }

  start(event) { this.from = this.iteration(event); this.svg.setPointerCapture(event.pointerId); }

  move(event) {
    if (this.from === undefined) return;
    const [a, b] = [this.from, this.iteration(event)].sort((p, q) => p - q).map((i) => this.x(i)), { top, bottom } = this.plot;
    this.svg.querySelector(".selection")?.remove();
    this.svg.append(element("rect", { class: "selection", x: a, width: b - a, y: top, height: bottom - top }));
  }

  end(event) {
    const range = [this.from, this.iteration(event)].sort((p, q) => p - q), least = (this.range[1] - this.range[0]) / 100;
    this.from = undefined;
    if (range[1] - range[0] > least) this.zoom(range);
    else this.draw();
  }

  zoom(range) { this.range = range; this.draw(); }

  x(value) { return this.plot.left + (this.plot.right - this.plot.left) * (value - this.range[0]) / (this.range[1] - this.range[0] || 1); }

  draw() {
    const { left, right, top, bottom } = this.plot, [from, to] = this.range, values = [];
    const inside = (line) => line.x.map((x, i) => i).filter((i) => line.x[i] >= from && line.x[i] <= to);
    this.lines.forEach((line, n) => this.shown[n] && inside(line).forEach((i) => values.push((line.low || line.y)[i], (line.high || line.y)[i])));
    if (!values.length) values.push(0, 1);
    const low = Math.min(...values), high = Math.max(...values), room = 0.04 * (high - low || Math.abs(high) || 1);
    const least = this.least === null ? low - room : Math.max(low - room, this.least);
    const y = (value) => bottom - (bottom - top) * (value - least) / (high + room - least);
    const path = (pairs) => pairs.map(([a, b]) => `${this.x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    const parts = [];
    for (const [value, label] of ticks(least, high + room, 5)) {
      parts.push(element("line", { class: "axis", x1: left, x2: right, y1: y(value), y2: y(value) }));
      parts.push(element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end", class: "soft" }, label));
    }
    for (const [value, label] of ticks(from, to, 6)) {
      parts.push(element("line", { class: "axis", x1: this.x(value), x2: this.x(value), y1: bottom - 4, y2: bottom }));
      parts.push(element("text", { x: this.x(value), y: bottom + 16, "text-anchor": "middle", class: "soft" }, label));
    }
    for (let n = this.lines.length - 1; n >= 0; n--) {
      if (!this.shown[n]) continue;
      const line = this.lines[n], at = inside(line), group = element("g", { class: `line l${n}` });
      if (line.low) group.append(element("polygon", { points: path([...at.map((i) => [line.x[i], line.high[i]]), ...at.reverse().map((i) => [line.x[i], line.low[i]])]) }));
      if (line.low) at.reverse();
      group.append(element("polyline", { points: path(at.map((i) => [line.x[i], line.y[i]])) }));
      parts.push(group);
    }
    parts.push(element("text", { x: right, y: bottom + 30, "text-anchor": "end", class: "soft" }, "iteration"));
    this.svg.replaceChildren(...parts);
  }
}

for (const figure of document.querySelectorAll("figure.chart")) new Chart(figure);
