// Fold the parts of the page, and open what a link, a search or a printer needs. Without it every part is open.
"use strict";

const parts = Array.from(document.querySelectorAll("details.part"));

/** Open all that an element lies in, and what is folded inside it, and go there. */
function reveal(id) {
  const target = id && document.getElementById(id);
  if (!target) return;
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  target.querySelectorAll(":scope > details").forEach((part) => { part.open = true; });
  target.scrollIntoView();
}

parts.forEach((part) => { part.open = false; });
reveal(location.hash.slice(1));
addEventListener("hashchange", () => reveal(location.hash.slice(1)));
for (const link of document.querySelectorAll('a[href^="#"]')) {
  // A second click on the same link changes no address.
  link.addEventListener("click", () => reveal(link.hash.slice(1)));
}

// Everything is printed; afterwards the page is as it was.
let closed = [];
addEventListener("beforeprint", () => {
  closed = Array.from(document.querySelectorAll("details:not([open])"));
  closed.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));

// One button for all parts.
const unfold = document.createElement("button");
unfold.type = "button";
unfold.className = "choice unfold";
unfold.textContent = "Open all parts";
unfold.addEventListener("click", () => {
  const open = parts.some((part) => !part.open);
  parts.forEach((part) => { part.open = open; });
  unfold.textContent = open ? "Close all parts" : "Open all parts";
});
if (parts.length > 0) parts[0].closest("section").before(unfold);

// On a narrow screen the contents are closed at first: the summary is what a reader came for.
const contents = document.querySelector(".contents details");
if (matchMedia("(max-width: 63.99rem)").matches) contents.open = false;
matchMedia("(min-width: 64rem)").addEventListener("change", (wide) => { if (wide.matches) contents.open = true; });

// The table of contents marks where the reader is.
const links = new Map(Array.from(document.querySelectorAll(".contents a"), (link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    const link = links.get(entry.target.id);
    if (link) link.setAttribute("aria-current", "true");
  }
}, { rootMargin: "0px 0px -75% 0px" });
links.forEach((_, id) => {
  const target = document.getElementById(id);
  if (target) watcher.observe(target);
});
