"use strict";
/* Presses what a person would, and writes down what happens: the text of a last element, as JSON. */
const verdict = { errors: [], alerted: false };
window.addEventListener("error", (event) => verdict.errors.push(event.message));
window.alert = () => { verdict.alerted = true; };
const visible = (nodes) => nodes.filter((node) => node.offsetParent !== null);
const choose = (id, value) => {
  document.getElementById(id).value = value;
  document.getElementById("bar").dispatchEvent(new Event("input"));
};
const unique = (texts) => [...new Set(texts)].sort();
const sets = () => unique(visible(all(".board tr[data-set]")).map((row) => row.dataset.set));

async function press() {
  await Promise.all(all("img").map((image) => image.decode().catch(() => {})));
  verdict.images = all("img").map((image) => image.naturalWidth);
  verdict.width = window.innerWidth;
  verdict.overflow = document.documentElement.scrollWidth - window.innerWidth;
  verdict.all = { sets: sets(), parts: visible(all(".part")).length };

  const board = document.querySelector(".board"), body = board.querySelector("tbody");
  const button = board.querySelector("th.n button");
  const values = () => all("tr:not(.group) td.n[data-v]", body).map((cell) => Number(cell.dataset.v));
  verdict.sorted = [0, 1].map(() => { button.click(); return values(); });
  verdict.groups_on_top = all(".board tbody").every((one) => one.rows[0].className === "group");

  const details = document.querySelector(".numbers");
  verdict.numbers_closed = !details.querySelector("td").checkVisibility(); details.open = true;
  const heads = all("thead button", details);
  heads[1].click();
  verdict.numbers_sorted = all("tbody tr", details).map((row) => Number(row.cells[1].dataset.v));
  heads[0].click();
  verdict.numbers_by_name = all("tbody th", details).map((cell) => cell.textContent);
  verdict.numbers_overflow = document.documentElement.scrollWidth - window.innerWidth;

  choose("set", "new"); verdict.of_a_set = sets(); choose("set", "");
  choose("protocol", "paper");
  verdict.of_a_protocol = unique(visible(all(".part")).map((part) => part.dataset.protocol).filter(Boolean));
  choose("protocol", "");
  choose("model", "THEIRS");
  verdict.of_a_model = unique(visible(all("tr[data-model]")).map((row) => row.dataset.model));
  choose("model", "");

  choose("against", "old");
  verdict.changes = all(".change").map((node) => node.textContent);
  choose("against", ""); verdict.changes_after = all(".change").length;

  board.querySelector("[data-fact]").click();
  verdict.facts = Object.fromEntries(all("#facts tr").map((row) => all("td", row).map((cell) => cell.textContent)));
  document.getElementById("facts").close();

  const widen = document.querySelector(".widen");
  const more = () => visible(all(".more", widen.closest(".board"))).length;
  verdict.more_before = more(); widen.click(); verdict.more_after = more();
}

press().catch((error) => verdict.errors.push(String(error))).finally(() => {
  const note = document.createElement("pre");
  note.id = "verdict";
  note.textContent = JSON.stringify(verdict);
  window.parent.document.body.append(note);
});
