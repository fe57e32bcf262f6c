// How many words were wrong before and after, in plain words; the figures of the field are under "Details".

import { h } from "./dom.js";
import { t, wrongIn100 } from "./strings.js";

export const GENERAL = "general speech";
const SAME = 0.002; // a difference below this is shown as none

/** Blocks with bars for "my words" and "everyone else's words". `changes` has before and after by domain. */
export function scores(changes, first = "scores.before", second = "scores.after") {
  const names = Object.keys(changes).sort((a, b) => (a === GENERAL) - (b === GENERAL));
  const own = names.filter((name) => name !== GENERAL);
  return h("div", { class: "scores" }, names.map((name) => {
    const { before, after } = changes[name];
    const title = name === GENERAL ? t("scores.everyone") : own.length > 1 ? t("scores.mine.of", { name }) : t("scores.mine");
    const most = Math.max(0.05, before, after);
    return h("div", { class: "score", role: "group", "aria-label": title },
      h("h3", {}, title),
      h("p", { class: "muted small" }, t("scores.unit")),
      bar(t(first), before, most, ""), bar(t(second), after, most, " after"),
      h("p", { class: "verdict" }, verdict(before, after)));
  }));
}

function bar(label, wer, most, kind) {
  const filled = h("span");
  filled.style.width = `${(100 * wer) / most}%`;
  return h("div", { class: "bar-row" }, h("span", {}, label), h("div", { class: `bar${kind}`, "aria-hidden": "true" }, filled),
    h("b", {}, wrongIn100(wer)));
}

function verdict(before, after) {
  if (Math.abs(after - before) < SAME) return t("scores.same");
  return after < before ? t("scores.better") : t("scores.worse");
}

/** The figures as a table, for "Details". */
export function table(changes) {
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("details.wer") }, h("table", {},
    h("caption", {}, t("details.wer.caption")),
    h("thead", {}, h("tr", {}, ["details.domain", "scores.before", "scores.after", "details.utterances"].map((key) =>
      h("th", { scope: "col" }, t(key))))),
    h("tbody", {}, Object.entries(changes).map(([name, one]) => h("tr", {},
      h("th", { scope: "row" }, name), h("td", {}, percent(one.before)), h("td", {}, percent(one.after)),
      h("td", {}, one.utterances ?? ""))))));
}

/** A list of facts, for "Details". */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
}

/** A section that is closed at first. */
export const details = (title, ...children) => h("details", {}, h("summary", {}, title), h("div", { class: "stack" }, children));
