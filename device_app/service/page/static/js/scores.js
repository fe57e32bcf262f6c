// How many words were wrong before and after, in plain words; the figures of the field are under "Details".

import { h } from "./dom.js";
import { has, roundedIn100, t, wrongIn100 } from "./strings.js";

export const GENERAL = "general speech";

/** Blocks with bars for "my words" and "everyone else's words". `changes` has before and after by domain. */
export function scores(changes, first = "scores.before", second = "scores.after") {
  const names = Object.keys(changes).sort((a, b) => (a === GENERAL) - (b === GENERAL));
  const own = names.filter((name) => name !== GENERAL);
  return h("div", { class: "scores" }, names.map((name) => {
    const { before, after } = changes[name];
    const title = name === GENERAL ? t("scores.everyone") : own.length > 1 ? t("scores.mine.of", { name }) : t("scores.mine");
    const most = Math.max(5, roundedIn100(before), roundedIn100(after));
    return h("div", { class: "score", role: "group", "aria-label": title },
      h("h3", {}, title),
      h("p", { class: "muted small" }, t("scores.unit")),
      bar(t(first), before, most, ""), bar(t(second), after, most, " after"),
      h("p", { class: "verdict" }, verdict(before, after)));
  }));
}

function bar(label, wer, most, kind) {
  const filled = h("span");
  filled.style.width = `${(100 * roundedIn100(wer)) / most}%`;
  return h("div", { class: "bar-row" }, h("span", {}, label), h("div", { class: `bar${kind}`, "aria-hidden": "true" }, filled),
    h("b", {}, wrongIn100(wer)));
}

/** It never contradicts the figures beside it: two that look the same are the same. */
function verdict(before, after) {
  const [first, second] = [before, after].map(roundedIn100);
  return t(first === second ? "scores.same" : second < first ? "scores.better" : "scores.worse");
}

/** Whether a change makes nothing better and something worse, by the figures as they are shown. */
export function isWorse(changes) {
  const rises = Object.values(changes).map(({ before, after }) => roundedIn100(after) - roundedIn100(before));
  return rises.some((rise) => rise > 0) && rises.every((rise) => rise >= 0);
}

/** Of whom more words would be wrong with a change that is worse, in a sentence. */
export const whyWorse = (domains) => refusal({ rejection: "regression", domains });

/** The same of a change that is in use. */
export const whyWorseNow = (domains) => t(`learn.worse.${worseGroup(undefined, domains)}`);

/** Why the test refused a change: of a result of the gate, or of an edit, for which `worse` is not known. */
export function refusal({ rejection, worse, domains }) {
  const key = `refusal.${rejection === "regression" ? worseGroup(worse, domains) : rejection}`;
  return t(has(key) ? key : "refusal.unknown");
}

function worseGroup(worse, domains) {
  const names = (worse ?? Object.keys(domains)).filter((name) => roundedIn100(domains[name].after) > roundedIn100(domains[name].before));
  if (!names.length) return "drift"; // other words than before, but no more of them wrong in the test
  if (!names.includes(GENERAL)) return "mine";
  return names.length > 1 ? "both" : "everyone";
}

/** The figures as a table, for "Details". */
export function table(changes) {
  const hasUtterances = Object.values(changes).some((one) => one.utterances);
  const columns = ["details.domain", "scores.before", "scores.after", ...(hasUtterances ? ["details.utterances"] : [])];
  const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("details.wer") }, h("table", {},
    h("caption", {}, t("details.wer.caption")),
    h("thead", {}, h("tr", {}, columns.map((key) =>
      h("th", { scope: "col" }, t(key))))),
    h("tbody", {}, Object.entries(changes).map(([name, one]) => h("tr", {},
      h("th", { scope: "row" }, name), h("td", {}, percent(one.before)), h("td", {}, percent(one.after)),
      hasUtterances ? h("td", {}, one.utterances ?? "") : null)))));
}

/** A list of facts, for "Details". */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
}

/** A section that is closed at first. */
export const details = (title, ...children) => h("details", {}, h("summary", {}, title), h("div", { class: "stack" }, children));
