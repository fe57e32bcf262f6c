// Words: what to expect, and what to write instead.

import { get, post } from "../api.js";
import { announce, field, fill, focus, h } from "../dom.js";
import { details } from "../scores.js";
import { t } from "../strings.js";

export async function show(box) {
  const terms = h("section", { class: "card", "aria-labelledby": "terms" });
  const replacements = h("section", { class: "card", "aria-labelledby": "replacements" });
  fill(box, h("h1", {}, t("words.title")), h("p", { class: "intro" }, t("words.intro")), h("div", { class: "grid" }, terms, replacements));

  function draw(found) {
    const word = h("input", { type: "text", maxlength: 100, autocomplete: "off", required: true });
    fill(terms, h("h2", { id: "terms" }, t("words.terms")), h("p", { class: "muted" }, t("words.terms.text")),
      form(() => ["/words/terms", { text: word.value }], t("words.added"), [field(t("words.term"), word)], word),
      found.terms.length ? h("ul", { class: "list" }, found.terms.map((term) => h("li", {},
        h("div", { class: "grow" }, term.text, h("span", { class: "muted small" }, " ", t(`words.origin.${term.origin}`))),
        removing(term.text, "/words/terms/remove", { text: term.text })))) : h("p", { class: "muted" }, t("words.none")),
      h("label", { class: "choice" }, h("input", { type: "checkbox", checked: found.from_corrections,
        onchange: (event) => change("/words/corrections", { from_corrections: event.target.checked }, t("saved")) }), t("words.corrections")),
      found.terms.length ? details(t("details"), usage(found.terms)) : null);
    const from = h("input", { type: "text", maxlength: 100, autocomplete: "off", required: true });
    const to = h("input", { type: "text", maxlength: 500, autocomplete: "off" });
    fill(replacements, h("h2", { id: "replacements" }, t("words.replacements")), h("p", { class: "muted" }, t("words.replacements.text")),
      form(() => ["/words/replacements", { words: from.value, text: to.value }], t("words.added"), [h("div", { class: "field-row field" }, field(t("words.from"), from), field(t("words.to"), to))], from),
      found.replacements.length ? h("ul", { class: "list" }, found.replacements.map((one) => h("li", {},
        h("div", { class: "grow" }, h("q", {}, one.words), " → ", one.text ? h("q", {}, one.text) : h("em", {}, t("words.dropped"))),
        removing(one.words, "/words/replacements/remove", { words: one.words })))) : h("p", { class: "muted" }, t("words.replacements.none")));
  }

  function usage(all) {
    const columns = ["words.term.name", "words.weight", "words.matched", "words.helped", "words.needed"];
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("words.usage") }, h("table", {},
      h("thead", {}, h("tr", {}, columns.map((key) => h("th", { scope: "col" }, t(key))))),
      h("tbody", {}, all.map((term) => h("tr", {}, h("th", { scope: "row" }, term.text), h("td", {}, term.weight), h("td", {}, term.matched),
        h("td", {}, term.helped), h("td", {}, term.needed === null ? "?" : t(term.needed ? "yes" : "no")))))));
  }

  function form(request, said, fields, first) {
    const problem = h("p", { role: "alert" });
    return h("form", { class: "field", onsubmit: async (event) => {
      event.preventDefault();
      const heading = first.closest("section").id || first.closest("section").getAttribute("aria-labelledby");
      try {
        await change(...request(), said);
        focus(document.querySelector(`[aria-labelledby="${heading}"] input[type=text]`));
      } catch (error) {
        problem.className = "notice bad";
        problem.textContent = error.message;
        first.focus();
      }
    } }, fields, problem, h("button", { type: "submit" }, t("words.add")));
  }

  function removing(name, path, json) {
    return h("button", { type: "button", class: "danger", onclick: async (event) => {
      const heading = event.target.closest("section").querySelector("h2");
      await change(path, json, t("words.removed", { name }));
      focus(document.getElementById(heading.id));
    } }, t("words.remove"), h("span", { class: "hidden" }, ` ${name}`));
  }

  async function change(path, json, said) {
    draw(await post(path, json));
    announce(said);
  }

  draw(await get("/words"));
}
