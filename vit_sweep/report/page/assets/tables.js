// Sort, filter and download the tables of this page. Without it every table is there, in the order of the report.
"use strict";

/** A cell's exact value as text: its own text unless that says it otherwise. */
function exactly(cell) {
  return cell.dataset.v ?? cell.textContent;
}

/** A cell's value: a number where its column has numbers, else text in small letters; null when empty. */
function valueOf(cell, numeric) {
  const raw = exactly(cell);
  if (raw === "") return null;
  return numeric ? Number(raw) : raw.toLowerCase();
}

/** Order two values; numbers within text count as numbers (n1-g2 before n1-g16). */
function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

/** Sort the rows by one column. Empty cells stay below whichever way; equal ones keep their order. */
function sortBy(table, index, way) {
  const numeric = table.tHead.rows[0].cells[index].dataset.type === "number";
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => [valueOf(row.cells[index], numeric), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return way === "descending" ? compare(b, a) : compare(a, b);
  });
  body.append(...keyed.map(([, row]) => row));
}

/** Make each head a button that sorts: ascending, descending, and the order of the report again. */
function makeSortable(table, say) {
  const original = Array.from(table.tBodies[0].rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const way = next[head.getAttribute("aria-sort") || "none"];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (way === "none") {
        table.tBodies[0].append(...original);
        say("in the order of the report");
      } else {
        head.setAttribute("aria-sort", way);
        sortBy(table, index, way);
        say("sorted by " + button.textContent + ", " + way);
      }
    });
  });
}

/** The different texts of a column, in order; null when there are too few or too many to choose from. */
function choices(table, index) {
  const texts = new Set(Array.from(table.tBodies[0].rows, (row) => row.cells[index].textContent));
  return texts.size > 1 && texts.size <= 40 ? Array.from(texts).sort(compare) : null;
}

function labelled(text, control) {
  const label = document.createElement("label");
  const words = document.createElement("span");
  words.textContent = text;
  label.append(words, control);
  return label;
}

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

/** Rows of a long table that are laid out at first: a browser takes seconds for a thousand rows. */
const FIRST_ROWS = 100;

/** Text filter, column = value filter, how many rows are shown, download. */
function makeControls(table, box) {
  const rows = Array.from(table.tBodies[0].rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const title = document.getElementById("title-" + table.dataset.name).textContent;

  const search = document.createElement("input");
  search.type = "search";
  search.setAttribute("aria-label", "Rows of “" + title + "” with this text");
  const column = document.createElement("select");
  column.setAttribute("aria-label", "Column of “" + title + "” to choose a value of");
  column.append(option("", "any column"));
  heads.forEach((head, index) => {
    if (choices(table, index)) column.append(option(String(index), head.textContent));
  });
  const value = document.createElement("select");
  value.setAttribute("aria-label", "Value of that column");
  value.append(option("", "any value"));
  value.disabled = true;
  const count = document.createElement("output");
  const download = document.createElement("button");
  download.type = "button";
  download.className = "download";
  download.textContent = "CSV";
  download.setAttribute("aria-label", "Download the shown rows of “" + title + "” as CSV");

  const rest = document.createElement("button");
  rest.type = "button";
  rest.className = "choice";
  let order = "", most = FIRST_ROWS;
  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = words.length > 0 ? row.textContent.toLowerCase() : "";
      const fits = words.every((word) => text.includes(word)) &&
        (value.value === "" || row.cells[Number(column.value)].textContent === value.value);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
      row.classList.toggle("later", fits && shown > most);
    }
    if (rows.length === 1) count.textContent = "1 row";
    else count.textContent = shown + " of " + rows.length + " rows" + (order && ", " + order);
    if (shown > most) count.textContent += ", the first " + most + " shown";
    rest.hidden = shown <= FIRST_ROWS;
    rest.textContent = shown > most ? "All " + shown + " rows" : "First " + FIRST_ROWS + " rows";
  }
  rest.addEventListener("click", () => {
    most = most === FIRST_ROWS ? Infinity : FIRST_ROWS;
    show();
  });
  search.addEventListener("input", show);
  value.addEventListener("change", show);
  column.addEventListener("change", () => {
    const found = column.value === "" ? [] : choices(table, Number(column.value));
    value.replaceChildren(option("", "any value"), ...found.map((text) => option(text, text)));
    value.disabled = found.length === 0;
    show();
  });
  download.addEventListener("click", () => save(table, heads));
  makeSortable(table, (words) => {
    order = words;
    show();
  });

  // What is beyond a page's width is there when it is asked for.
  const beyond = heads.filter((head) => head.classList.contains("more")).length;
  const all = document.createElement("button");
  all.type = "button";
  all.className = "choice";
  function brief(few) {
    table.classList.toggle("brief", few);
    all.setAttribute("aria-pressed", String(!few));
    all.textContent = few ? "All " + heads.length + " columns" : "Fewer columns";
  }
  brief(beyond > 0);
  all.addEventListener("click", () => brief(!table.classList.contains("brief")));

  // What is seen at a glance need not be filtered.
  if (rows.length > 5) box.append(labelled("Find", search));
  if (rows.length > 5 && column.options.length > 1) box.append(labelled("Only", column), value);
  box.append(count, ...(beyond > 0 ? [all] : []), rest, download);
  box.hidden = false;
  show();
}

function quoted(text) {
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

/** The shown rows in full precision, intervals in columns of their own, what is said once in every row. */
function csv(table, heads) {
  const rows = Array.from(table.tBodies[0].rows).filter((row) => !row.hidden);
  const said = Array.from(document.querySelectorAll('[data-said="' + table.dataset.name + '"] > div'));
  const bounded = heads.map((_, index) => Array.from(table.tBodies[0].rows).some((row) => row.cells[index].dataset.low));
  const names = heads.flatMap((head, index) => {
    const name = head.dataset.column;
    return bounded[index] ? [name, name + "_low", name + "_high"] : [name];
  });
  const lines = [[...names, ...said.map((pair) => pair.querySelector("dt").textContent)]];
  for (const row of rows) {
    const values = Array.from(row.cells).flatMap((cell, index) => {
      const { low = "", high = "" } = cell.dataset;
      return bounded[index] ? [exactly(cell), low, high] : [exactly(cell)];
    });
    lines.push([...values, ...said.map((pair) => pair.querySelector("dd").dataset.v)]);
  }
  return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function save(table, heads) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(table, heads)], { type: "text/csv;charset=utf-8" }));
  link.download = table.dataset.name + ".csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const table of document.querySelectorAll("table[data-name]")) {
  makeControls(table, document.querySelector('.controls[data-for="' + table.dataset.name + '"]'));
}
