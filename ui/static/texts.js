// The page's texts in the browser's language; the table itself is ui/i18n.py.

export const language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";

const tables = await (await fetch("/lucid/texts")).json();
const table = tables[language];

/** One text, with {name} filled in from `values`. */
export function t(key, values = {}) {
  return (table[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Fills in the texts of static HTML: data-t (content), data-t-label (label and tooltip), data-t-place (placeholder). */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-t]:not([data-done]), [data-t-label]:not([data-done])")) {
    const { t: content, tLabel: label, tPlace: place } = element.dataset;
    if (content) element.textContent = t(content);
    if (label) {
      element.setAttribute("aria-label", t(label));
      if (element.tagName === "BUTTON") element.title = t(label);
    }
    if (place) element.placeholder = t(place);
    element.dataset.done = "";
  }
}
