"use strict";

// Sorts and filters the tables. The tables are complete without this script; it reads the embedded data, moves rows
// and hides them.

const FILTERS = ["dataset", "method", "backbone", "source", "kind"];
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Compares two values of one column; a missing one comes last in either direction. */
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "string" ? collator.compare(a, b) : a - b);
}

/** Puts buttons into the heads of a table; a first press sorts the best to the top, a second the other way. */
function makeSortable(table, board) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];

  function sortBy(column) {
    const head = heads[column];
    const first = board.higher[column] === true ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = head.getAttribute("aria-sort") === first ? other : first;
    for (const one of heads) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const order = rows.map((_, index) => index);
    order.sort((a, b) => compare(board.rows[a].values[column], board.rows[b].values[column], sign) || a - b);
    body.append(...order.map((index) => rows[index]));
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(column));
  });
}

/** Lists in a select what occurs in the data. */
function fill(select, values) {
  for (const value of [...new Set(values)].filter((one) => one !== null).sort(collator.compare)) {
    select.append(new Option(value, value));
  }
}

/** Shows the rows that match every filter, and hides tables without any. */
function makeFilterable(form, boards, sections) {
  const facts = boards.flatMap((board, number) =>
    board.rows.map((row, index) => ({
      dataset: board.dataset, source: board.source, kind: board.kind, method: row.method, backbone: row.backbone,
      number, element: sections[number].querySelector("tbody").rows[index],
    })));
  for (const fact of facts) {
    const texts = [...fact.element.cells].slice(0, 2).map((cell) => cell.textContent);
    fact.text = [...texts, fact.dataset, fact.source, fact.kind].join(" ").toLowerCase();
  }
  for (const name of FILTERS) fill(form.elements[name], facts.map((fact) => fact[name]));

  function apply() {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = boards.map(() => 0);
    for (const fact of facts) {
      const fits = FILTERS.every((name) => !form.elements[name].value || form.elements[name].value === fact[name])
        && words.every((word) => fact.text.includes(word));
      fact.element.hidden = !fits;
      shown[fact.number] += fits;
    }
    for (const element of document.querySelectorAll("[data-board]")) {
      element.hidden = shown[Number(element.dataset.board)] === 0;
    }
    const total = shown.reduce((sum, count) => sum + count, 0);
    const tables = shown.filter((count) => count > 0).length;
    document.getElementById("status").textContent =
      `${total} of ${facts.length} rows in ${tables} of ${boards.length} tables`;
  }

  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

/** Adds a button that copies the command of a record; without a clipboard it selects the text. */
function makeCopyable(code) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
  code.closest(".command").append(button);
}

const data = document.getElementById("data");
if (data) {
  const boards = JSON.parse(data.textContent);
  const sections = [...document.querySelectorAll("section[data-board]")];
  makeFilterable(document.getElementById("filters"), boards, sections);
  sections.forEach((section, number) => makeSortable(section.querySelector("table"), boards[number]));
}
const command = document.getElementById("command");
if (command) makeCopyable(command);
