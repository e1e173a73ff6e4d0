// The curves of the study as a drawing that answers: a point says its cells, hosts and interval, a series goes and comes.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const QUANTITIES = {
  time: { name: "time of an epoch", axis: "time of an epoch (s)", unit: " s" },
  speedup: { name: "speedup", axis: "speedup", unit: "" },
  efficiency: { name: "efficiency", axis: "efficiency (%)", unit: "", scale: 100 },
  hours: { name: "GPU-hours of an epoch", axis: "GPU-hours of an epoch", unit: " GPU-hours" },
  cost: { name: "cost of the epochs", axis: "cost of the epochs", unit: "" },
};
const MARKS = [
  "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z", "M-4.2 -4.2H4.2V4.2H-4.2Z", "M0 -5.5L5.2 4.2H-5.2Z",
  "M0 -5.8L5.2 0L0 5.8L-5.2 0Z", "M0 5.5L5.2 -4.2H-5.2Z",
];
const COLOURS = 6;
const TOP = 14, RIGHT = 18, BOTTOM = 52;
const DIGIT = 9.5, LABEL = 40; // pixels of a digit of a tick, and of the axis' own label

function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The parts of a text, in which no line breaks the id of a cell. */
function unbroken(text) {
  return text.split(/\b(n\d+-g\d+(?:-\w+)+)/).map((part, at) => (at % 2 ? html("span", "whole", part) : part));
}

function html(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function plural(count, noun) {
  return count.toLocaleString("en") + " " + noun + (count === 1 ? "" : "s");
}

/** A number for an axis: at most four digits. */
function short(value) {
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 8 });
}

/** Round steps between 0 and `most`, or doublings and decades between two ends. */
function ticks(least, most, logarithmic) {
  const found = [];
  if (logarithmic) {
    for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power += 1) {
      for (const factor of [1, 2, 5]) {
        const value = factor * 10 ** power;
        if (value >= least && value <= most) found.push(value);
      }
    }
    return found;
  }
  const rough = most / 5, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * unit).find((value) => value >= rough);
  for (let index = 0; index * step <= most; index += 1) found.push(index * step);
  return found;
}

/** The drawing. `curves`: of one scaling mode; `state`: quantity, logarithmic, hidden labels, the chosen curve, count. */
class Chart {
  constructor(state, choose) {
    this.state = state;
    this.choose = choose;
    this.at = -1;
    this.points = [];
    this.box = html("div", "plot");
    this.box.tabIndex = 0;
    this.box.setAttribute("role", "group");
    this.tip = html("div", "tip");
    this.tip.setAttribute("role", "status");
    this.tip.hidden = true;
    this.box.addEventListener("pointermove", (event) => this.point(event));
    this.box.addEventListener("pointerleave", () => this.show(-1));
    this.box.addEventListener("blur", () => this.show(-1));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("click", () => {
      const point = this.points[this.at];
      if (point) this.choose(point.curve, point.said.gpus);
    });
  }

  /** Of the asked quantity: value, low, high and the text of the tables, in the unit of the axis. */
  of(said) {
    if (this.state.quantity === "cost") {
      const { price, epochs } = this.state, [value, low, high] = (said.hours || []).map((end) => (end === null ? null : end * price * epochs));
      return said.hours ? { value, low, high, text: short(value) + (low === null ? "" : ` [${short(low)}, ${short(high)}]`) } : null;
    }
    const [value, low, high, text] = said[this.state.quantity] || [];
    if (value === undefined) return null;
    const scale = QUANTITIES[this.state.quantity].scale || 1;
    const end = (number) => (number === null ? null : number * scale);
    return { value: value * scale, low: end(low), high: end(high), text };
  }

  draw(curves) {
    const { state } = this, width = Math.max(300, this.box.clientWidth), height = Math.min(440, Math.max(280, width * 0.75));
    const shown = curves.filter((curve) => !state.hidden.has(curve.label));
    const measured = curves.flatMap((curve) => curve.measured);
    const line = state.curve && shown.includes(state.curve) ? state.curve.fitted.filter((said) => this.of(said)) : [];
    const counts = [...measured.map((said) => said.gpus), ...line.map((said) => said.gpus), state.gpus || 1];
    const values = [...shown.flatMap((curve) => curve.measured), ...line].map((said) => this.of(said)).filter(Boolean);
    const ends = values.flatMap(({ value, low, high }) => [value, low, high]).filter((end) => end !== null);
    if (state.quantity === "efficiency") ends.push(100);
    if (state.quantity === "speedup") ends.push(1);
    const most = Math.max(...ends, 0) * 1.08 || 1, least = Math.min(...ends.filter((end) => end > 0), most) / 1.2;
    const marks = ticks(least, most, state.logarithmic);
    const left = LABEL + DIGIT * Math.max(...marks.map((value) => short(value).length));
    const first = Math.log2(Math.min(...counts)), last = Math.max(Math.log2(Math.max(...counts)), first + 0.5);
    const x = (gpus) => left + 12 + (width - left - RIGHT - 24) * ((Math.log2(gpus) - first) / (last - first));
    const up = (value) => (state.logarithmic ? Math.log(value / least) / Math.log(most / least) : value / most);
    const y = (value) => TOP + (height - TOP - BOTTOM) * (1 - Math.max(0, Math.min(1, up(value))));
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    this.axes(root, { x, y, left, width, height, marks, counts });
    if (state.quantity === "efficiency") root.append(svg("path", { class: "ideal", d: `M${left} ${y(100)}H${width - RIGHT}` }));
    this.fit(root, line, x, y);
    this.points = [];
    for (const curve of shown) this.curve(root, curve, x, y);
    if (state.gpus) root.append(svg("path", { class: "chosen", d: `M${x(state.gpus)} ${TOP}V${height - BOTTOM}` }));
    this.box.setAttribute("aria-label", `${QUANTITIES[state.quantity].name} against GPUs, ${shown.length} of ${curves.length} series. Arrow keys go from point to point.`);
    this.box.replaceChildren(root, this.tip);
    this.show(-1);
  }

  axes(root, { x, y, left, width, height, marks, counts }) {
    for (const value of marks) {
      root.append(
        svg("path", { class: "grid", d: `M${left} ${y(value)}H${width - RIGHT}` }),
        svg("text", { x: left - 8, y: y(value) + 5, "text-anchor": "end" }, short(value)),
      );
    }
    let right = -Infinity;
    for (const gpus of Array.from(new Set(counts)).sort((a, b) => a - b).filter((gpus) => Number.isInteger(Math.log2(gpus)) || counts.length < 8)) {
      root.append(svg("path", { class: "grid", d: `M${x(gpus)} ${height - BOTTOM}v6` }));
      if (x(gpus) - right < 34) continue;
      right = x(gpus);
      root.append(svg("text", { x: right, y: height - BOTTOM + 22, "text-anchor": "middle" }, gpus.toLocaleString("en")));
    }
    const middle = (TOP + height - BOTTOM) / 2;
    root.append(
      svg("path", { class: "axis", d: `M${left} ${TOP}V${height - BOTTOM}H${width - RIGHT}` }),
      svg("text", { x: (left + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, "GPUs"),
      svg("text", { transform: `translate(16 ${middle}) rotate(-90)`, "text-anchor": "middle" }, QUANTITIES[this.state.quantity].axis),
    );
  }

  /** What the fit says of the chosen series, with its band; dashed where nobody measured, and a gap where it refuses. */
  fit(root, line, x, y) {
    if (!line.length) return;
    const tone = " s" + this.state.curve.tone, asked = this.state.curve.fitted.map((said) => said.gpus);
    const runs = [];
    for (const said of line) {
      const before = runs.at(-1)?.at(-1);
      const next = before && asked.indexOf(said.gpus) === asked.indexOf(before.gpus) + 1;
      if (next && Boolean(before.extrapolated) === Boolean(said.extrapolated)) runs.at(-1).push(said);
      else runs.push(next ? [before, said] : [said]);
    }
    for (const run of runs) {
      const at = (end) => run.map((said) => `${x(said.gpus)} ${y(this.of(said)[end] ?? this.of(said).value)}`);
      const far = run.at(-1).extrapolated || run[0].extrapolated ? " far" : "";
      root.append(svg("path", { class: "band" + tone + far, d: `M${[...at("low"), ...at("high").reverse()].join("L")}Z` }));
      root.append(svg("path", { class: "fit" + tone + far, d: `M${at("value").join("L")}` }));
    }
  }

  curve(root, curve, x, y) {
    const known = curve.measured.map((said) => ({ curve, said, at: this.of(said) })).filter((point) => point.at);
    const group = svg("g", { class: "curve s" + curve.tone });
    const fitted = curve === this.state.curve && curve.laws.length > 0;
    if (known.length > 1 && !fitted) {
      group.append(svg("path", { class: "line", d: "M" + known.map(({ said, at }) => `${x(said.gpus)} ${y(at.value)}`).join("L") }));
    }
    for (const point of known) {
      const { said, at } = point;
      if (at.low !== null && at.high !== null) {
        group.append(svg("path", { class: "whisker", d: `M${x(said.gpus)} ${y(at.low)}V${y(at.high)}m-4 0h8M${x(said.gpus) - 4} ${y(at.low)}h8` }));
      }
      const mark = svg("path", { class: "mark", d: MARKS[curve.shape], transform: `translate(${x(said.gpus)} ${y(at.value)})` });
      group.append(mark);
      this.points.push({ ...point, mark, x: x(said.gpus), y: y(at.value) });
    }
    root.append(group);
  }

  point(event) {
    const box = this.box.getBoundingClientRect(), away = ({ x, y }) => Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top);
    const near = this.points.reduce((best, point, index) => (best < 0 || away(point) < away(this.points[best]) ? index : best), -1);
    this.show(near >= 0 && away(this.points[near]) < 28 ? near : -1);
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") this.show(-1);
    if (event.key === "Enter" && this.points[this.at]) this.box.click();
    if (!step || !this.points.length) return;
    event.preventDefault();
    this.show((this.at + step + this.points.length) % this.points.length);
  }

  /** Say all of one point; -1 of none. */
  show(index) {
    if (index === this.at && !this.tip.hidden) return;
    this.points[this.at]?.mark.classList.remove("on");
    this.at = index;
    this.tip.hidden = index < 0;
    if (index < 0) return;
    const { curve, said, at, mark, x, y } = this.points[index];
    mark.classList.add("on");
    const where = plural(said.gpus, "GPU") + (said.nodes ? " on " + plural(said.nodes, "node") : "");
    const interval = at.low === null ? "no interval: a single run" : "95% interval in brackets, " + plural(said.n, "run");
    const lines = [
      QUANTITIES[this.state.quantity].name + ": " + at.text + QUANTITIES[this.state.quantity].unit, interval,
      ...(said.cells ? ["cells: " + said.cells.join(", ")] : []), ...(said.hosts ? ["hosts: " + said.hosts.join(", ")] : []), ...(said.flags || []),
    ];
    if (at.low === null && said.n > 1 || (at.low === at.high && at.low !== null)) lines[1] = plural(said.n, "run");
    this.tip.replaceChildren(html("strong", "", curve.label + ", " + where), ...lines.map((text) => html("span", "", ...unbroken(text))));
    const room = this.box.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = Math.max(0, Math.min(room, x + 14)) + "px";
    const below = y + 16, fits = below + this.tip.offsetHeight <= this.box.clientHeight;
    this.tip.style.top = (fits ? below : Math.max(0, y - 16 - this.tip.offsetHeight)) + "px";
  }
}

/** Buttons that switch series on and off. */
function legend(curves, state, redraw) {
  return html("div", "legend", ...curves.map((curve) => {
    const button = html("button", "series s" + curve.tone);
    const swatch = svg("svg", { width: 18, height: 14, viewBox: "-9 -7 18 14", "aria-hidden": "true" }, svg("path", { class: "mark", d: MARKS[curve.shape] }));
    button.type = "button";
    button.append(swatch, curve.short);
    button.setAttribute("aria-pressed", String(!state.hidden.has(curve.label)));
    button.addEventListener("click", () => {
      if (!state.hidden.delete(curve.label)) state.hidden.add(curve.label);
      redraw();
    });
    return button;
  }));
}
