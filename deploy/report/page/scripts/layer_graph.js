// The layer graph: a click on a population selects it in all views, and marks what it reads and feeds.

const rows = [...document.querySelectorAll("table.layers tbody tr")];
const sources = rows.map((row) => row.dataset.sources.split(" ").filter(Boolean).map(Number));
let selected = null;

rows.forEach((row) => {
  const button = row.querySelector(".pick");
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const name = row.dataset.population;
    const detail = { name: name === selected ? null : name };
    document.dispatchEvent(new CustomEvent("population", { detail }));
    document.getElementById("announcement").textContent =
      selected === null ? "No population selected" : `${selected} selected in every tab`;
  });
});

document.addEventListener("population", ({ detail: { name } }) => {
  selected = name;
  const index = rows.findIndex((row) => row.dataset.population === name);
  rows.forEach((row, i) => {
    row.classList.toggle("neighbour", index >= 0 && (sources[index].includes(i) || sources[i].includes(index)));
    row.querySelector(".pick").setAttribute("aria-pressed", String(i === index));
  });
});
