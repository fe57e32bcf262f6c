// Words: what to expect, and what to write instead.

import { get, post } from "../api.js";
import { announce, field, fill, focus, h } from "../dom.js";
import { details, facts } from "../scores.js";
import { t } from "../strings.js";

export async function show(box) {
  const terms = termCard();
  const replacements = replacementCard();
  const found = await get("/words");
  fill(box, h("h1", {}, t("words.title")), h("p", { class: "intro" }, t("words.intro")),
    h("div", { class: "grid" }, terms.element, replacements.element));
  draw(found);

  function draw(lists) {
    terms.draw(lists);
    replacements.draw(lists);
  }

  /** Sends a change, and says beside its list what was done. The forms keep what is typed in them. */
  async function change(path, json, said, status) {
    const answer = await post(path, json);
    draw(answer);
    status.textContent = said ?? outcome(answer);
    announce(status.textContent);
  }

  /** What became of new entries: "Added: Fuchsia. On the list already: Heusgen." */
  function outcome(answer) {
    return ["added", "changed", "known"].filter((kind) => answer[kind].length)
      .map((kind) => t(`words.${kind}`, { name: answer[kind].join(", ") })).join(" ");
  }

  function termCard() {
    const word = h("input", { type: "text", maxlength: 1000, autocomplete: "off", required: true });
    const status = h("p", { class: "said" });
    const list = h("div");
    const box = h("input", { type: "checkbox", onchange: () => change("/words/corrections", { from_corrections: box.checked }, t("saved"), status) });
    const more = h("div", { class: "stack" });
    const usages = details(t("details"), more);
    const add = form(status, [word], [field(t("words.term"), word), h("p", { class: "muted small" }, t("words.term.help"))], () => {
      const texts = word.value.split(/[,;]/).map((one) => one.trim()).filter(Boolean);
      return ["/words/terms", { texts }, null];
    });
    const element = h("section", { class: "card", "aria-labelledby": "terms" }, h("h2", { id: "terms" }, t("words.terms")),
      h("p", { class: "muted" }, t("words.terms.text")), add, status, list, h("label", { class: "choice" }, box, t("words.corrections")), usages);

    function draw(found) {
      fill(list, found.terms.length ? h("ul", { class: "list" }, found.terms.map((term) => h("li", {},
        h("div", { class: "grow" }, term.text, h("span", { class: "muted small" }, " ", t(`words.origin.${term.origin}`))),
        removing(term.text, "/words/terms/remove", { text: term.text }, element, status)))) : h("p", { class: "muted" }, t("words.none")));
      box.checked = found.from_corrections;
      usages.hidden = !found.terms.length;
      fill(more, h("p", { class: "muted small" }, t("words.usage")), facts(found.terms.map((term) => [term.text, usage(term)])));
    }

    return { element, draw };
  }

  function usage(term) {
    return [term.matched ? t("words.usage.count", { n: term.matched, helped: term.helped }) : t("words.usage.never"),
      t(term.needed === null ? "words.usage.unknown" : term.needed ? "words.usage.needed" : "words.usage.not.needed"),
      term.weight === 1 ? "" : t("words.usage.weight", { weight: term.weight })].join(" ");
  }

  function replacementCard() {
    const from = h("input", { type: "text", maxlength: 100, autocomplete: "off", required: true });
    const to = h("input", { type: "text", maxlength: 500, autocomplete: "off", required: true });
    const nothing = h("input", { type: "checkbox", onchange: () => { to.disabled = nothing.checked; } }); // then it is not required
    const status = h("p", { class: "said" });
    const list = h("div");
    const add = form(status, [from, to], [h("div", { class: "field-row field" }, field(t("words.from"), from), field(t("words.to"), to)),
      h("label", { class: "choice" }, nothing, t("words.to.nothing"))], () =>
      ["/words/replacements", { words: from.value, text: nothing.checked ? "" : to.value.trim() }, null],
    () => { nothing.checked = to.disabled = false; });
    const element = h("section", { class: "card", "aria-labelledby": "replacements" }, h("h2", { id: "replacements" }, t("words.replacements")),
      h("p", { class: "muted" }, t("words.replacements.text")), add, status, list);

    function draw(found) {
      fill(list, found.replacements.length ? h("ul", { class: "list" }, found.replacements.map((one) => h("li", {},
        h("div", { class: "grow" }, h("q", {}, one.words), " → ", one.text ? h("q", {}, one.text) : h("em", {}, t("words.dropped"))),
        removing(one.words, "/words/replacements/remove", { words: one.words }, element, status)))) : h("p", { class: "muted" }, t("words.replacements.none")));
    }

    return { element, draw };
  }

  /** A form whose `inputs` must not be blank. `request` returns the path, the JSON, and what to say afterwards: null is what became of it. */
  function form(status, inputs, fields, request, reset = () => {}) {
    const problem = h("p", { role: "alert" });
    return h("form", { class: "field", novalidate: true, onsubmit: async (event) => {
      event.preventDefault();
      const blank = inputs.find((input) => !input.disabled && !/[^\s,;]/.test(input.value));
      try {
        if (blank) throw new Error(t("words.blank", { name: document.querySelector(`label[for="${blank.id}"]`).textContent }));
        await change(...request(), status);
        for (const input of inputs) input.value = "";
        reset();
        problem.className = problem.textContent = "";
        focus(inputs[0]);
      } catch (error) {
        problem.className = "notice bad";
        problem.textContent = error.message;
        status.textContent = "";
        focus(blank ?? inputs[0]);
      }
    } }, fields, problem, h("button", { type: "submit" }, t("words.add")));
  }

  function removing(name, path, json, section, status) {
    return h("button", { type: "button", class: "danger", onclick: async () => {
      await change(path, json, t("words.removed", { name }), status);
      focus(section.querySelector("h2"));
    } }, t("words.remove"), h("span", { class: "hidden" }, ` ${name}`));
  }
}
