"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const chosen = (id) => document.getElementById(id)?.value ?? "";

/* Sort the rows of every group; the heading of a group stays on top, cells without a number at the end. */
function sort(button) {
  const table = button.closest("table"), head = button.closest("th"), at = Number(button.dataset.sort);
  const first = button.dataset.better === "higher" ? "descending" : "ascending";
  const other = { ascending: "descending", descending: "ascending" };
  const order = head.ariaSort ? other[head.ariaSort] : first;
  all("thead th", table).forEach((th) => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = all("tr:not(.group)", body);
    rows.sort((a, b) => compare(a.cells[at], b.cells[at], sign));
    body.append(...rows);
  }
}

function compare(a, b, sign) {
  if (button(a) || button(b)) {
    const [x, y] = [a, b].map((cell) => (button(cell) ? Number(cell.dataset.v) : NaN));
    return (Number.isNaN(x) - Number.isNaN(y)) || sign * (x - y) || 0;
  }
  return sign * a.textContent.trim().localeCompare(b.textContent.trim(), "en", { numeric: true });
}
const button = (cell) => cell.dataset.v !== undefined;

/* Show only what was chosen; a table whose rows have all gone goes too. */
function filter() {
  const wanted = { dataset: chosen("dataset"), protocol: chosen("protocol"), set: chosen("set") };
  for (const node of all("[data-dataset], [data-set]")) {
    const off = Object.entries(wanted).some(([key, value]) => value && node.dataset[key] && node.dataset[key] !== value);
    node.classList.toggle("gone", off);
  }
  const text = chosen("model").trim().toLowerCase();
  for (const row of all("tr[data-model]")) {
    if (text && !row.dataset.model.toLowerCase().includes(text)) row.classList.add("gone");
  }
  for (const body of all(".board tbody")) {
    body.classList.toggle("gone", !all("tr:not(.group):not(.gone)", body).length);
  }
  for (const part of all(".part:not(.gone)")) {
    const bodies = all(".board tbody", part);
    if (bodies.length) part.classList.toggle("gone", bodies.every((body) => body.classList.contains("gone")));
    if (wanted.protocol && !part.classList.contains("gone")) part.open = true;
  }
}

/* Below every number that the other set has too: what changed. */
function contrast() {
  all(".change").forEach((node) => node.remove());
  const found = data.changes[chosen("against")] ?? {};
  for (const number of all("[data-fact]")) {
    const change = found[number.dataset.fact];
    if (!change) continue;
    const line = document.createElement("small");
    line.className = "change " + change[1].replace(" ", "-");
    line.textContent = change.filter(Boolean).join(" ");
    number.parentNode.append(line);
  }
}

function tell(fact) {
  const { columns, texts, rows } = data.facts;
  const table = document.querySelector("#facts table");
  table.replaceChildren();
  rows[fact].forEach((text, i) => {
    if (!texts[text]) return;
    const row = table.insertRow();
    row.insertCell().textContent = columns[i];
    row.insertCell().textContent = texts[text];
  });
  document.getElementById("facts").showModal();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("button");
  if (event.target.id === "facts") event.target.close();
  if (!target) return;
  if (target.dataset.sort) sort(target);
  if (target.dataset.fact) tell(target.dataset.fact);
  if (target.classList.contains("widen")) {
    target.setAttribute("aria-pressed", target.closest(".board").classList.toggle("all"));
  }
});
const bar = document.getElementById("bar");
bar.addEventListener("input", () => { filter(); contrast(); });
bar.addEventListener("submit", (event) => event.preventDefault());
