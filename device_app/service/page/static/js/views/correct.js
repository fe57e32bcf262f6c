// Correct: what was recognised, and what was really said.

import { get, remove, sound } from "../api.js";
import { announce, fill, focus, h, newId } from "../dom.js";
import { correct } from "../outbox.js";
import { details, facts } from "../scores.js";
import { duration, t, when } from "../strings.js";
import { player } from "../waveform.js";
import { words } from "../words.js";

const SHOWS = ["unchecked", "unsure", "all"];
const DRAFT = "asr-edge.draft."; // what was typed and not saved yet, by the number of the recording

export async function show(box) {
  let list = [];
  let place = 0;
  let current = null; // the player, and the functions of the recording on the page
  let number = 0;
  let isFirst = true; // the person has not chosen yet

  const id = newId();
  const select = h("select", { id, onchange: () => { place = 0; showLoading(); load(); } });
  const stage = h("div", { "aria-live": "off" });
  fill(box, h("h1", {}, t("correct.title")), h("p", { class: "intro" }, t("correct.intro")),
    h("div", { class: "field" }, h("label", { for: id }, t("correct.show")), select), stage);

  /** Shows the chosen list. `said` is what the last request did, which is shown with the next recording. */
  async function load(moveFocus = false, said = "") {
    const chosen = select.value || "unchecked";
    const found = await get(`/utterances?show=${chosen}&limit=500`);
    const counts = await Promise.all(SHOWS.map((one) => (one === chosen ? found : get(`/utterances?show=${one}&limit=1`))));
    fill(select, SHOWS.map((one, i) => h("option", { value: one, selected: one === chosen }, `${t(`correct.show.${one}`)} (${counts[i].total})`)));
    if (chosen === "unchecked" && !found.total && counts[1].total && isFirst) {
      isFirst = false;
      select.value = "unsure";
      return load(moveFocus, said);
    }
    isFirst = false;
    list = found.utterances;
    place = Math.min(place, Math.max(0, list.length - 1));
    if (!counts[2].total) showNothing("correct.none", said);
    else if (!list.length) showNothing(chosen === "unsure" ? "correct.sure" : "correct.done", said);
    else await open(place, moveFocus, said);
  }

  function showNothing(key, said) {
    leave();
    fill(stage, h("div", { class: "card stack" }, said ? h("p", { class: "notice good" }, said) : null, h("p", {}, t(key)),
      h("p", {}, h("a", { href: key === "correct.none" ? "#record" : "#learn" }, t(key === "correct.none" ? "correct.record" : "correct.learn")))));
  }

  /** In place of the recording of another list, which could be taken for one of the chosen list. */
  function showLoading() {
    leave();
    number++;
    fill(stage, h("div", { class: "card" }, h("p", {}, t("correct.loading")), h("progress", { "aria-label": t("correct.loading") })));
  }

  function leave() {
    current?.player.destroy();
    current = null;
  }

  async function open(at, moveFocus = false, said = "") {
    place = at;
    leave();
    if (!stage.hasChildNodes()) showLoading();
    const mine = ++number;
    const listed = list[place];
    const [one, blob] = await Promise.all([get(`/utterances/${listed.id}`), sound(listed.id)]);
    if (mine !== number) return;
    const heldPlayer = player(blob);
    const input = h("textarea", { id: newId(), rows: 3, maxlength: 1000, spellcheck: "true", enterkeyhint: "done",
      value: localStorage.getItem(DRAFT + one.id) ?? one.text ?? one.recognised });
    input.addEventListener("input", () => {
      localStorage.setItem(DRAFT + one.id, input.value);
      if (message.className === "notice good") message.className = "hidden"; // "Saved" is not about the text that is typed now
    });
    const save = h("button", { type: "submit", class: "primary" }, t("correct.save"));
    const message = h("p", { class: said ? "notice good" : "hidden" }, said);
    const previous = h("button", { type: "button", disabled: place === 0, onclick: () => open(place - 1, true) }, t("correct.previous"));
    const next = h("button", { type: "button", disabled: place === list.length - 1, onclick: () => open(place + 1, true) }, t("correct.next"));
    const drop = h("button", { type: "button", class: "danger", onclick: async () => {
      if (!confirm(t("delete.ask"))) return;
      await remove(`/utterances/${one.id}`);
      localStorage.removeItem(DRAFT + one.id);
      announce(t("deleted"));
      load(true, t("deleted"));
    } }, t("delete"));
    const form = h("form", { class: "card", onsubmit: (event) => { event.preventDefault(); store(); } },
      h("p", { class: "muted" }, t("correct.place", { n: place + 1, of: list.length }), " · ", when(one.created), " · ", duration(one.duration_s)),
      heldPlayer.box,
      h("p", { class: "words" }, h("span", { class: "muted" }, t("recognised"), " "), words(one.words)),
      one.words.some((word) => !word.is_sure) ? h("p", { class: "muted small" }, t("correct.unsure")) : null,
      one.prompt ? h("p", { class: "muted" }, t("correct.prompt"), " ", one.prompt) : null,
      h("div", { class: "field" }, h("label", { for: input.id }, t("correct.said")), input), message,
      h("div", { class: "row actions narrow" }, heldPlayer.button, save, previous, next, drop),
      details(t("correct.keys"), h("ul", { class: "stack" }, ["save", "play", "next", "previous"].map((key) => h("li", {}, t(`correct.key.${key}`))))),
      details(t("details"), facts([[t("details.domain"), one.domain], [t("details.number"), one.id], [t("details.source"), one.source],
        [t("details.split"), one.split], [t("details.confidence"), one.confidence === null ? "" : `${Math.round(100 * one.confidence)} %`]])));
    form.addEventListener("keydown", (event) => {
      const key = keyOf(event);
      if (!key) return;
      event.preventDefault();
      if (key === "save") store();
      else if (key === "play") heldPlayer.toggle();
      else if (key === "next" && !next.disabled) next.click();
      else if (key === "previous" && !previous.disabled) previous.click();
    });
    fill(stage, form);
    current = { player: heldPlayer };
    if (moveFocus) focus(input);

    function tell(kind, text) {
      message.className = kind;
      message.setAttribute("role", "alert");
      message.textContent = text;
    }

    async function store() {
      const text = input.value.trim();
      if (!text) {
        tell("notice bad", t("correct.empty"));
        input.focus();
        return;
      }
      save.disabled = true;
      save.textContent = t("saving");
      const answers = await correct(one.id, text);
      const bad = answers.find((answer) => answer.refused);
      if (bad) {
        tell("notice bad", bad.refused);
        save.disabled = false;
        save.textContent = t("correct.save");
        return;
      }
      localStorage.removeItem(DRAFT + one.id);
      const expected = answers.flatMap((answer) => answer.expected ?? []);
      if (!answers.length) {
        save.disabled = false;
        save.textContent = t("correct.save");
        tell("notice", t("correct.safe"));
        return;
      }
      const isLast = place === list.length - 1;
      const did = [expected.length ? t("correct.expected", { words: expected.join(", ") }) : t("correct.saved"),
        list.length === 1 ? "" : t(select.value === "all" && isLast ? "correct.last" : "correct.onward")].join(" ").trim();
      announce(did);
      if (select.value === "all" && !isLast) place += 1; // a saved recording leaves the other lists
      await load(true, expected.length ? [did, " ", h("a", { href: "#words" }, t("correct.words"))] : did);
    }
  }

  await load();
  return leave;
}

/** What a key combination asks for; "" for others. */
function keyOf(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && (event.target.tagName === "TEXTAREA" || event.ctrlKey)) return "save";
  if (!event.ctrlKey) return "";
  return { " ": "play", ArrowDown: "next", ArrowUp: "previous" }[event.key] ?? "";
}
