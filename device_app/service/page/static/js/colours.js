// Colours of the page for what is drawn on a canvas, where style sheets do not reach.

const DARK = matchMedia("(prefers-color-scheme: dark)");

/** The value of a custom property of the style sheet, such as "--accent", as it is now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Calls `redraw` whenever the device turns dark or light; returns a function that ends this. */
export function onSchemeChange(redraw) {
  DARK.addEventListener("change", redraw);
  return () => DARK.removeEventListener("change", redraw);
}
