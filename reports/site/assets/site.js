// Sorting, filtering and the choice of light or dark. The filters of a page stand in its address (#q=…), so they can be shared.
"use strict";

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function key(row, index) {
  const cell = row.cells[index];
  if (!cell) return "";
  return cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
}

function compare(a, b) {
  if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1; // nothing goes last
  const x = Number(a.replace("−", "-")), y = Number(b.replace("−", "-"));
  return Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y;
}

function sort(table, index, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].filter((row) => row.dataset.fixed === undefined);
  const sorted = rows.map((row, i) => [key(row, index), i, row]).sort((a, b) => {
    const order = compare(a[0], b[0]);
    return (descending && a[0] !== "" && b[0] !== "" ? -order : order) || a[1] - b[1];
  });
  for (const row of body.querySelectorAll("[data-fixed]")) row.remove(); // headings of groups mean nothing once sorted
  body.append(...sorted.map((entry) => entry[2]));
  for (const [i, head] of [...table.tHead.rows[0].cells].entries()) {
    if (i === index) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function controls(table) {
  return [...document.querySelectorAll(`[data-filters="${table.id}"]`)];
}

function filter(table) {
  const tests = controls(table).filter((c) => c.value).map((c) => {
    const wanted = c.value.toLowerCase(), column = c.dataset.column, attribute = c.dataset.attribute;
    if (attribute !== undefined) return (row) => row.dataset[attribute].toLowerCase() === wanted;
    if (column !== undefined) return (row) => row.cells[column].textContent.trim().toLowerCase() === wanted;
    const words = wanted.split(/\s+/).filter(Boolean);
    return (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
  });
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    row.hidden = !tests.every((test) => test(row));
    shown += row.hidden ? 0 : 1;
  }
  for (const out of document.querySelectorAll(`[data-counts="${table.id}"]`)) out.textContent = `${shown} shown`;
}

function remember(table) {
  const state = new URLSearchParams();
  for (const control of controls(table)) if (control.dataset.key && control.value) state.set(control.dataset.key, control.value);
  const sorted = table.querySelector("th[aria-sort]");
  if (sorted) state.set("sort", `${sorted.getAttribute("aria-sort") === "descending" ? "-" : ""}${sorted.cellIndex}`);
  history.replaceState(null, "", `#${state}`);
}

function restore(table) {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const control of controls(table)) if (control.dataset.key) control.value = state.get(control.dataset.key) || "";
  const by = state.get("sort");
  if (by && table.tHead.rows[0].cells[Math.abs(Number(by))]) sort(table, Math.abs(Number(by)), by.startsWith("-"));
  filter(table);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const main = controls(table).length > 0;
  for (const head of table.tHead.rows[0].cells) {
    head.tabIndex = 0;
    const turn = () => {
      sort(table, head.cellIndex, head.getAttribute("aria-sort") === "ascending");
      if (main) remember(table);
    };
    head.addEventListener("click", turn);
    head.addEventListener("keydown", (event) => event.key === "Enter" && turn());
  }
  if (!main) continue;
  for (const control of controls(table)) control.addEventListener("input", () => { filter(table); remember(table); });
  restore(table);
  addEventListener("hashchange", () => restore(table));
}

const themed = document.documentElement;
try { if (localStorage.theme) themed.dataset.theme = localStorage.theme; } catch { /* a browser may keep nothing for files */ }
document.getElementById("theme").addEventListener("click", () => {
  const dark = themed.dataset.theme ? themed.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  themed.dataset.theme = dark ? "light" : "dark";
  try { localStorage.theme = themed.dataset.theme; } catch { /* as above */ }
});
