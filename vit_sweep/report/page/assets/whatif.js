// What if there were more GPUs, another batch, another price: sliders over what the analysis predicted, count by count.
// There is no law in here: where the fit refuses, so do the sliders, in its words.
"use strict";

/** The unit in which a person says so many seconds, and its size. */
function unitOf(seconds) {
  return seconds < 120 ? [1, " s"] : seconds < 7200 ? [60, " min"] : [3600, " h"];
}

/** What the tables say of a number: `15.2 s`, `[15.0, 15.4]`. */
function told(number, unit = "") {
  const [text, ...interval] = number[3].split(" [");
  return { value: number[0], text: text + unit, interval: interval.length ? "[" + interval.join(" [") : "" };
}

/** Decimals of a number as in the tables: two digits of its interval's width, else three of its own. */
function decimalsOf(value, low, high) {
  const [size, digits] = low !== null && high > low ? [high - low, 2] : [Math.abs(value), 3];
  return size > 0 ? Math.min(12, Math.max(0, digits - 1 - Math.floor(Math.log10(size)))) : 0;
}

/** A number and its ends, all times a factor. */
function times([value, low, high], factor, [size, unit] = [1, ""]) {
  const scale = factor / size;
  const digits = decimalsOf(value * scale, low === null ? null : low * scale, high * scale);
  const said = (end) => (end * scale).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return { value: value * factor, text: said(value) + unit, interval: low === null ? "" : `[${said(low)}, ${said(high)}]` };
}

function slider(name, most, value, step = 1) {
  const input = html("input");
  Object.assign(input, { type: "range", min: 0, max: most, step, value });
  input.dataset.ask = name;
  return input;
}

function row(name, control, output) {
  const label = html("label", "row", html("span", "", name), control);
  if (output) label.append(output);
  return label;
}

/** Measured batches of a family and the doublings between them. */
function batches(family) {
  const measured = family.map((curve) => curve.batch).filter((batch) => batch !== null);
  const stops = new Set(measured);
  for (let batch = Math.min(...measured); batch < Math.max(...measured); batch *= 2) stops.add(batch);
  return Array.from(stops).sort((a, b) => a - b);
}

/** A label among those of one scaling mode. */
function withoutMode(label) {
  return label.replace(/^(strong|weak) scaling(, )?/, "");
}

class WhatIf {
  constructor(curves, state, redraw) {
    this.curves = curves;
    this.state = state;
    this.redraw = redraw;
    this.box = html("section", "whatif");
    this.box.setAttribute("aria-label", "What if");
    this.title = html("p", "whatif-title", "What if …");
    this.says = html("p", "says");
    this.says.setAttribute("role", "status");
    this.table = html("table", "told");
    this.price = slider("price", 20, 1, 0.05);
    this.epochs = html("input");
    Object.assign(this.epochs, { type: "number", min: 1, step: 1, value: 1 });
    this.epochs.dataset.ask = "epochs";
    this.money = html("output", "");
    for (const input of [this.price, this.epochs]) input.addEventListener("input", () => this.tell());
  }

  /** Make the sliders for the curves of one scaling mode, at a curve and a count. */
  offer(curves, curve, gpus) {
    this.mine = curves;
    const families = Array.from(new Set(curves.map((one) => one.family)));
    this.family = html("select");
    this.family.dataset.ask = "family";
    this.family.append(...families.map((family) => option(family, withoutMode(family) || family)));
    this.family.value = curve.family;
    this.family.addEventListener("change", () => {
      const first = this.mine.find((one) => one.family === this.family.value);
      this.offer(this.mine, first, first.measured.at(-1).gpus);
      this.tell();
    });
    const family = curves.filter((one) => one.family === curve.family);
    this.stops = batches(family);
    this.batch = slider("batch", Math.max(0, this.stops.length - 1), Math.max(0, this.stops.indexOf(curve.batch)));
    this.batch.disabled = this.stops.length < 2;
    this.batchSays = html("output", "");
    this.batch.addEventListener("input", () => this.tell());
    const counts = family.flatMap((one) => [...one.fitted, ...one.measured].map((said) => said.gpus));
    this.counts = Array.from(new Set(counts)).sort((a, b) => a - b);
    this.gpus = slider("gpus", this.counts.length - 1, this.counts.indexOf(gpus));
    this.gpusSays = html("output", "");
    this.gpus.addEventListener("input", () => this.tell());
    this.epochs.value = curve.epochs || 1;
    this.box.replaceChildren(
      this.title,
      ...(families.length > 1 ? [row("Series", this.family)] : []),
      row("GPUs", this.gpus, this.gpusSays),
      row(curve.per === "global" ? "Global batch" : "Batch per GPU", this.batch, this.batchSays),
      row("GPU-hour price", this.price, this.money),
      row("Epochs", this.epochs),
      this.says, this.table,
    );
  }

  /** The curve of the chosen batch; undefined where none was measured. */
  chosen() {
    const batch = this.stops.length ? this.stops[Number(this.batch.value)] : null;
    return [batch, this.mine.find((one) => one.family === this.family.value && one.batch === batch)];
  }

  tell() {
    const gpus = this.counts[Number(this.gpus.value)], [batch, curve] = this.chosen();
    const price = Number(this.price.value), epochs = Math.max(1, Math.round(Number(this.epochs.value)) || 1);
    this.gpusSays.textContent = gpus.toLocaleString("en");
    this.batchSays.textContent = batch === null ? "not known" : batch.toLocaleString("en");
    this.money.textContent = price.toFixed(2);
    this.gpus.setAttribute("aria-valuetext", plural(gpus, "GPU"));
    this.batch.setAttribute("aria-valuetext", "batch " + batch);
    Object.assign(this.state, { curve, gpus, price, epochs });
    const fit = curve?.fitted.find((said) => said.gpus === gpus), found = curve?.measured.find((said) => said.gpus === gpus);
    this.verdict(curve, fit, found, gpus, batch);
    this.fill(fit?.time ? fit : null, found, price, epochs);
    this.redraw();
  }

  verdict(curve, fit, found, gpus, batch) {
    const [best, ...others] = curve?.laws || [];
    const by = "by " + best + (others.length ? "; the band also holds " + others.join(" and ") : "");
    let text, kind = "within";
    if (!curve) {
      [text, kind] = [`No prediction: no series here ran with a batch of ${batch}, and no law is fitted over batches. To know: batch=${batch}`, "refused"];
    } else if (fit?.time && fit.extrapolated) {
      [text, kind] = [`Extrapolated: ${plural(gpus, "GPU")} ${gpus === 1 ? "was" : "were"} not measured; ${by}`, "far"];
    } else if (fit?.time) {
      text = `Within the measured range, ${by}`;
    } else {
      [text, kind] = [(found ? "Measured, but no prediction: " : "No prediction: ") + (fit?.refusal || "nothing was fitted to this count"), "refused"];
    }
    const paid = (fit || found)?.paid;
    if (paid && paid !== gpus) text += `. Nodes are handed out whole: such a job holds ${plural(paid, "GPU")}`;
    this.says.className = "says " + kind;
    this.says.textContent = text.replace(/\.$/, "") + ".";
  }

  /** A line for each quantity: what the fit says of one more run, and what was measured. */
  fill(fit, found, price, epochs) {
    const lines = [
      ["time", "Time of an epoch", (said) => said.time && told(said.time, " s")],
      ["training", plural(epochs, "epoch") + (epochs === 1 ? " takes" : " take"), (said) => said.time && times(said.time, epochs, unitOf(epochs * said.time[0]))],
      ["speedup", "Speedup", (said) => said.speedup && told(said.speedup)],
      ["efficiency", "Efficiency", (said) => said.efficiency && told(said.efficiency)],
      ["hours", "GPU-hours of an epoch", (said) => said.hours && told(said.hours)],
      ["cost", "Cost of " + plural(epochs, "epoch"), (said) => said.hours && times(said.hours, epochs * price)],
    ];
    const head = html("tr", "", html("td", ""), ...["fitted", "measured"].map((text) => html("th", "", text)));
    head.querySelectorAll("th").forEach((one) => { one.scope = "col"; });
    const rows = lines.map(([name, title, of]) => {
      const cells = [fit, found].map((said, index) => {
        const number = said && of(said), cell = html("td", "", html("span", "", number ? number.text : "–"));
        cell.dataset.told = name + (index ? "-measured" : "");
        if (number) cell.dataset.v = String(number.value);
        if (number?.interval) cell.append(" ", html("span", "quiet", number.interval));
        return cell;
      });
      const header = html("th", "", title);
      header.scope = "row";
      return html("tr", "", header, ...cells);
    });
    this.table.replaceChildren(html("thead", "", head), html("tbody", "", ...rows));
  }
}

/** Put drawing and sliders in the place of the still picture. */
function ask(curves, place) {
  const modes = Array.from(new Set(curves.map((curve) => curve.scaling)));
  const state = { quantity: "time", logarithmic: false, hidden: new Set(), curve: null, gpus: 0, price: 1, epochs: 1, mode: modes[0] };
  for (const mode of modes) {
    curves.filter((curve) => curve.scaling === mode).forEach((curve, index) => {
      Object.assign(curve, { tone: index % COLOURS, shape: (index + Math.floor(index / COLOURS)) % MARKS.length });
      curve.short = withoutMode(curve.label) || curve.label;
    });
  }
  const mine = () => curves.filter((curve) => curve.scaling === state.mode);
  const chart = new Chart(state, (curve, gpus) => { whatif.offer(mine(), curve, gpus); whatif.tell(); });
  const keys = html("div", "keys"), whatif = new WhatIf(curves, state, redraw);
  function redraw() {
    chart.draw(mine());
    keys.replaceChildren(...(mine().length > 1 ? [legend(mine(), state, redraw)] : []));
  }
  function start() {
    const first = mine().find((curve) => curve.laws.length) || mine()[0];
    whatif.offer(mine(), first, first.measured.at(-1).gpus);
    whatif.tell();
  }
  const quantity = html("select"), mode = html("select"), scale = html("input");
  quantity.append(...Object.entries(QUANTITIES).map(([name, of]) => option(name, of.name)));
  quantity.addEventListener("change", () => { state.quantity = quantity.value; redraw(); });
  mode.append(...modes.map((name) => option(name, name + " scaling")));
  mode.addEventListener("change", () => { state.mode = mode.value; start(); });
  scale.type = "checkbox";
  scale.addEventListener("change", () => { state.logarithmic = scale.checked; redraw(); });
  const choices = html("div", "choices", labelled("Show", quantity), ...(modes.length > 1 ? [labelled("of", mode)] : []), labelled("logarithmic", scale));
  const note = html("p", "quiet", "Point at a mark, or use the arrow keys, for its cells, hosts and interval.");
  place.replaceChildren(html("div", "curves", choices, chart.box, keys, note), whatif.box);
  place.hidden = false;
  place.parentElement.classList.add("asked");
  start();
  new ResizeObserver(() => redraw()).observe(place);
}

const embedded = document.getElementById("curves"), place = document.querySelector("#ask > .live");
if (embedded && place) ask(JSON.parse(embedded.textContent), place);
