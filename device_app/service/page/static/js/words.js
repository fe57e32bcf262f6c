// Recognised words, with those marked of which the recogniser is not sure.

import { h } from "./dom.js";
import { t } from "./strings.js";

/** The words as elements; an unsure word is marked for the eye and for a screen reader. */
export function words(found) {
  if (!found.length) return [h("em", {}, t("nothing"))];
  return found.flatMap((word, i) => [
    i ? " " : "",
    word.is_sure ? word.text : h("mark", { class: "unsure" }, word.text, h("span", { class: "hidden" }, ` (${t("unsure")})`)),
  ]);
}
