// Filters of the verdicts, and links into closed details. Without scripts everything is shown.
const form = document.getElementById("filters");
const claims = [...document.querySelectorAll(".claim")];
const show = () => {
  const wanted = new FormData(form);
  const fits = (claim) => ["paper", "verdict"].every((key) => !wanted.get(key) || claim.dataset[key] === wanted.get(key));
  for (const claim of claims) claim.hidden = !fits(claim);
  for (const part of document.querySelectorAll(".of-paper")) part.hidden = !part.querySelector(".claim:not([hidden])");
  const shown = claims.filter((claim) => !claim.hidden).length;
  document.getElementById("shown").value = `${shown} of ${claims.length} claims`;
};
form.hidden = false;
form.addEventListener("change", show);
form.addEventListener("submit", (event) => event.preventDefault());
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || !target.closest("[hidden]")) return;
  form.reset();
  show();
  target.scrollIntoView();
};
addEventListener("hashchange", reveal);
show();
reveal();
