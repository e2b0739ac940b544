// Keys: an element with data-key is pressed by it, unless somebody types.
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (target.closest("input:not([type=range]), select, textarea, video")) return;
  if (target.closest("button, a, summary") && (event.key === " " || event.key === "Enter")) return;
  if (target.closest("input[type=range], svg[tabindex]") && event.key.startsWith("Arrow")) return;
  for (const one of document.querySelectorAll("[data-key]")) {
    if (one.dataset.key === event.key || one.dataset.key === event.key.toLowerCase()) {
      event.preventDefault();
      one.click();
      return;
    }
  }
});
// What was swapped in takes the focus of what is gone, so that the keyboard goes on from there.
document.addEventListener("htmx:afterSwap", event => {
  if (document.activeElement === document.body && event.detail.target.id === "pair") {
    event.detail.target.setAttribute("tabindex", "-1");
    event.detail.target.focus({preventScroll: true});
  }
});
