// Before the page is drawn: the theme that the reader chose last, if any, and that scripts run.
"use strict";
{
  const root = document.documentElement;
  root.classList.add("scripted");
  try {
    const theme = localStorage.getItem("qac-deploy theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // a page without storage follows the system
  }
}
