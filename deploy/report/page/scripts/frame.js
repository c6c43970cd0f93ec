// Tabs, theme and copy buttons, and the population that is selected in all views.
// Events on `document`: "population" (detail.name; null for none) selects, "panel" (detail.panel) tells a
// view that its tab is now shown and has a size.

const links = [...document.querySelectorAll("nav a")];
const panels = [...document.querySelectorAll(".panel")];
const announcement = document.getElementById("announcement");

function announce(words) {
  announcement.textContent = "";
  requestAnimationFrame(() => { announcement.textContent = words; });
}

// ---- tabs: links to sections become tabs, of which one panel is shown ----

function show(index, { focus = false } = {}) {
  links.forEach((link, i) => {
    link.setAttribute("aria-selected", String(i === index));
    link.tabIndex = i === index ? 0 : -1;
    if (i === index) panels[i].removeAttribute("hidden");
    else panels[i].setAttribute("hidden", "until-found"); // a search in the page still finds its text
  });
  links[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  if (focus) links[index].focus();
  document.dispatchEvent(new CustomEvent("panel", { detail: { panel: panels[index] } }));
}

// The view of the address, if there is one: its tab is shown, and the page scrolls to it.
function follow() {
  const id = decodeURIComponent(location.hash.slice(1));
  const view = id && document.getElementById(id);
  const index = view ? panels.findIndex((panel) => panel.contains(view)) : -1;
  if (!location.hash) show(0);
  if (index < 0) return;
  show(index);
  if (view !== panels[index].firstElementChild) view.scrollIntoView();
  else scrollTo(0, 0);
}

function open(index, options) {
  history.pushState(null, "", links[index].hash);
  show(index, options);
  scrollTo(0, 0);
}

const list = document.querySelector("nav ul");
list.setAttribute("role", "tablist");
list.setAttribute("aria-label", "Parts of the report");
links.forEach((link, index) => {
  link.parentElement.setAttribute("role", "presentation");
  link.setAttribute("role", "tab");
  link.id = `tab-${index}`;
  panels[index].id = `panel-${index}`;
  link.setAttribute("aria-controls", panels[index].id);
  panels[index].setAttribute("role", "tabpanel");
  panels[index].setAttribute("aria-labelledby", link.id);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    open(index);
  });
  panels[index].addEventListener("beforematch", () => show(index));
});
list.addEventListener("keydown", (event) => {
  const at = links.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  open((to + links.length) % links.length, { focus: true });
});
addEventListener("popstate", follow);
show(0);
follow();

// ---- theme: the system's, until the reader chooses ----

const root = document.documentElement;
const themeButton = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

function labelTheme() {
  themeButton.textContent = isDark() ? "Light theme" : "Dark theme";
}

themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("qac-deploy theme", root.dataset.theme);
  } catch {
    // without storage, the choice lasts as long as the page
  }
  labelTheme();
});
system.addEventListener("change", labelTheme);
labelTheme();

// ---- the selected population ----

document.addEventListener("population", ({ detail: { name } }) => {
  for (const element of document.querySelectorAll("[data-population]")) {
    element.classList.toggle("selected", element.dataset.population === name);
  }
});

// ---- copy buttons ----

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code); // at least ready to copy by hand
    return document.execCommand("copy");
  }
}

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const isCopied = await copy(button.parentElement.querySelector("code"));
    button.textContent = isCopied ? "Copied" : "Selected";
    announce(isCopied ? "Command copied" : "Command selected: copy it with the keyboard");
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
