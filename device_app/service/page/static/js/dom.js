// Builds elements. Text is always set as text, never parsed as HTML.

/**
 * An element.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] attributes; "on..." are listeners, "class" a class, null is left out.
 * @param {...(Node|string|null|undefined|Array)} children
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Replaces the content of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined));
}

const SHAPES = { play: "M3 1v14l12-7z", pause: "M2 1h4v14h-4zM10 1h4v14h-4z" };

/** A symbol that looks the same with every font. */
export function icon(name) {
  const [symbol, shape] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" })) symbol.setAttribute(key, value);
  shape.setAttribute("d", SHAPES[name]);
  symbol.append(shape);
  return symbol;
}

let number = 0;

/** A new id, to connect a label with its field. */
export const newId = () => `id-${++number}`;

/** A label with its field. */
export function field(text, input) {
  input.id ||= newId();
  return h("div", { class: "field" }, h("label", { for: input.id }, text), input);
}

/** Says something to users of a screen reader. */
export function announce(text) {
  const region = document.getElementById("announce");
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 50);
}

/** Moves the focus to an element that is no control, such as a heading. */
export function focus(element) {
  if (!element) return;
  if (!element.matches("button, input, select, textarea, a, summary")) element.tabIndex = -1;
  element.focus();
}

/** Offers a text as a download. */
export function download(name, text, type = "text/plain") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
