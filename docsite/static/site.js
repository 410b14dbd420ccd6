// What scrolls in its own box can be reached with the keyboard; captions of the navigation and signatures have roles.
const reach = () => {
  for (const box of document.querySelectorAll("pre, .formula, .table-wrapper, .highlight, .cell_output")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
document.addEventListener("DOMContentLoaded", () => {
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.setAttribute("aria-level", "2");
  for (const list of document.querySelectorAll("dt.sig dl")) {  // arguments of a long signature, with no terms
    list.setAttribute("role", "list");
    for (const item of list.querySelectorAll("dd")) item.setAttribute("role", "listitem");
  }
  reach();
  addEventListener("resize", reach);
  addEventListener("load", reach);
});
