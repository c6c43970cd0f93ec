// Sorts the table of the front, and shows the design of a card or a row in the plot.
"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-design]");
    const figure = button && document.getElementById(button.dataset.figure);
    if (!figure) return;
    figure.dispatchEvent(new CustomEvent("pareto-choose", { detail: Number(button.dataset.design) }));
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    figure.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
  });

  document.querySelectorAll("figure.pareto").forEach((figure) => {
    figure.addEventListener("pareto-chosen", (event) => {
      for (const button of document.querySelectorAll(`td button[data-figure="${figure.id}"]`))
        button.closest("tr").classList.toggle("chosen", Number(button.dataset.design) === event.detail);
    });
  });

  document.querySelectorAll("table.front").forEach(sortable);

  function sortable(table) {
  table.tHead.querySelectorAll("th button").forEach((button) => {
    button.addEventListener("click", () => {
      const heading = button.closest("th"), column = heading.cellIndex;
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)], [p, q] = [Number(x), Number(y)];
        const order = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
  }
})();
