"use strict";
// The page reads without this script; it adds the filter boxes and opens what is folded before printing.
for (const section of document.querySelectorAll("[data-filterable]")) {
  const form = section.querySelector(".filter");
  const [words, select] = [form.querySelector("input"), form.querySelector("select")];
  const [button, output] = [form.querySelector("button"), form.querySelector("output")];
  const items = [...section.querySelectorAll("details[data-kind]")];
  const texts = items.map((item) => item.textContent.toLowerCase());
  const groups = [...section.querySelectorAll("[data-group]")];
  const shown = () => items.filter((item) => !item.hidden);
  const update = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    items.forEach((item, i) => {
      const kind = !select.value || item.dataset.kind === select.value;
      item.hidden = !(kind && wanted.every((word) => texts[i].includes(word)));
    });
    for (const group of groups) group.hidden = !group.querySelector("details[data-kind]:not([hidden])");
    output.value = `${shown().length} of ${items.length} shown`;
  };
  words.addEventListener("input", update);
  select.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  button.addEventListener("click", () => {
    const open = shown().some((item) => !item.open);
    for (const item of shown()) item.open = open;
    button.textContent = open ? "Close all" : "Open all";
  });
  form.hidden = false;
  update();
}
addEventListener("beforeprint", () => {
  for (const item of document.querySelectorAll("details")) item.open = true;
});
