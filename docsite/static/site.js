// What scrolls in its own box can be reached with the keyboard, and the captions of the navigation have a level.
const reach = () => {
  for (const box of document.querySelectorAll("pre, .formula, .table-wrapper, .highlight, .cell_output")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
document.addEventListener("DOMContentLoaded", () => {
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.setAttribute("aria-level", "2");
  reach();
  addEventListener("resize", reach);
  addEventListener("load", reach);
});
