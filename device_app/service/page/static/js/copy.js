// Copies a text, and says visibly whether that worked.

import { announce, h } from "./dom.js";
import { t } from "./strings.js";

const SHOWN_MS = 2000;

/**
 * A button that copies, and the message for a browser that does not let the page copy.
 * @param {() => string} text
 * @param {HTMLElement} shown where the text is on the page; it is selected there if it cannot be copied.
 * @param {string} [name] of what is copied, for a screen reader.
 * @returns {{button: HTMLButtonElement, message: HTMLElement}}
 */
export function copying(text, shown, name = "") {
  const label = h("span", {}, t("copy"));
  const message = h("p", { role: "alert", class: "hidden" });
  const button = h("button", { type: "button", onclick: copy }, label, name ? h("span", { class: "hidden" }, ` ${name}`) : null);

  async function copy() {
    message.className = "hidden";
    message.textContent = "";
    try {
      await navigator.clipboard.writeText(text());
    } catch { // refused, or an address without https
      getSelection().selectAllChildren(shown);
      message.className = "notice bad";
      message.textContent = t("copy.failed");
      return;
    }
    label.textContent = t("copied");
    announce(t("copied"));
    setTimeout(() => { label.textContent = t("copy"); }, SHOWN_MS);
  }

  return { button, message };
}
