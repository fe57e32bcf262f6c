// Learn: what there is to learn from, the learning itself, and whether it helped.

import { get, post } from "../api.js";
import { announce, fill, focus, h, newId } from "../dom.js";
import { details, facts, isWorse, refusal, scores, table, whyWorseNow } from "../scores.js";
import { follow } from "../tasks.js";
import { has, spoken, t } from "../strings.js";

export async function show(box) {
  let stopFollowing = () => {};
  let chosen = null;
  const stage = h("div");
  fill(box, h("h1", {}, t("learn.title")), h("p", { class: "intro" }, t("learn.intro")), stage);

  async function load() {
    const [task, found] = [await get("/task"), await get("/learning")];
    if (task.status === "running") showRunning(task);
    else if (task.kind === "learn" && task.status !== "none") showEnd(task, found);
    else showStart(found);
  }

  function showRunning(task) {
    const inside = h("div", { class: "stack" });
    fill(stage, h("section", { class: "card", "aria-labelledby": "running" },
      h("h2", { id: "running" }, t(`task.kind.${task.kind}`)), inside));
    stopFollowing = follow(inside, async (ended) => {
      const found = await get("/learning");
      if (ended.kind === "learn") showEnd(ended, found, true);
      else showStart(found);
    }, task);
  }

  function showStart(found, notice = null) {
    const domains = found.domains;
    chosen = domains.find((one) => one.domain === chosen?.domain) ?? domains.find((one) => one.is_ready) ??
      domains.find((one) => one.domain === "my-speech") ?? domains[0] ?? null;
    if (!chosen) {
      fill(stage, notice, h("div", { class: "card stack" }, h("p", {}, t("learn.none", { n: found.fewest })), h("p", {}, h("a", { href: "#record" }, t("correct.record")))));
      return;
    }
    const isPossible = !found.cannot_learn && chosen.labelled >= found.fewest;
    const start = h("button", { type: "button", class: "primary large", id: "start", disabled: !isPossible, onclick: () => begin(start) }, t("learn.start"));
    fill(stage, notice, h("section", { class: "card", "aria-labelledby": "there-is" },
      h("h2", { id: "there-is" }, t("learn.what")),
      domains.length > 1 ? chooser(domains, found) : null,
      h("p", {}, t("learn.count", { n: chosen.labelled, time: spoken(chosen.seconds) })),
      h("progress", { max: found.enough, value: Math.min(found.enough, chosen.labelled), "aria-label": t("learn.progress") }),
      h("p", { class: "muted" }, advice(chosen, found), isUnused(chosen) ? [" ", h("a", { href: "#history" }, t("learn.history"))] : null),
      chosen.unlabelled ? h("p", {}, h("a", { href: "#correct" }, t("learn.unlabelled", { n: chosen.unlabelled }))) : null,
      found.cannot_learn ? h("div", { class: "notice bad" }, h("p", {}, t("learn.impossible")), details(t("details"), h("p", { class: "small" }, found.cannot_learn))) : null,
      h("div", { class: "row actions" }, start),
      h("p", { class: "muted small" }, chosen.minutes === null ? t("learn.time") : t(chosen.is_measured ? "learn.minutes" : "learn.minutes.least", { n: chosen.minutes }))), sofar(found));
  }

  function sofar(found) {
    const changes = {};
    for (const one of found.domains) {
      if (one.wer_before !== null && one.wer_now !== null) changes[one.domain] = { before: one.wer_before, after: one.wer_now };
    }
    if (!Object.keys(changes).length) return null;
    if (found.general_before !== null && found.general_now !== null) changes["general speech"] = { before: found.general_before, after: found.general_now };
    return h("section", { class: "card", "aria-labelledby": "so-far" }, h("h2", { id: "so-far" }, t("learn.sofar")), scores(changes),
      h("p", {}, h("a", { href: "#history" }, t("learn.history"))), details(t("details"), table(changes)));
  }

  function chooser(domains, found) {
    const id = newId();
    const select = h("select", { id, onchange: () => { chosen = domains.find((one) => one.domain === select.value); showStart(found); document.getElementById(select.id)?.focus(); } },
      domains.map((one) => h("option", { value: one.domain, selected: one === chosen }, one.domain)));
    return h("div", { class: "field" }, h("label", { for: id }, t("learn.choose")), select);
  }

  async function begin(button) {
    button.disabled = true;
    button.textContent = t("task.starting");
    try {
      const task = await post("/learning", { domain: chosen.domain });
      announce(t("task.kind.learn"));
      showRunning(task);
    } catch (error) {
      showStart(await get("/learning"), problem(t("learn.failed"), error.message));
    }
  }

  function problem(text, detail) {
    return h("div", { class: "notice bad", role: "alert" }, h("p", {}, text), detail ? details(t("details"), h("p", { class: "small" }, detail)) : null);
  }

  async function forget(event) {
    event.currentTarget.disabled = true;
    await post("/task/dismiss");
    await load();
    focus(box.querySelector("h1"));
  }

  function showEnd(task, found, moveFocus = false) {
    if (task.status !== "done") {
      const key = { stopped: "learn.stopped", interrupted: "learn.interrupted", failed: "learn.failed" }[task.status];
      const isPerfect = task.status === "failed" && domainOf(task, found)?.has_nothing_to_gain;
      showStart(found, task.status === "failed" && !isPerfect ? problem(t(key), task.error) : h("div", { class: "notice", role: "status" }, h("p", {}, t(isPerfect ? "learn.perfect" : key))));
      return;
    }
    const { result } = task;
    const isBad = result.promoted && isWorse(result.domains);
    const verdict = isBad ? "worse" : result.promoted ? "better" : has(`learn.verdict.${result.rejection}`) ? result.rejection : "unknown";
    const one = domainOf(task, found);
    const more = Math.max(found.new_for_next, found.enough - (one?.labelled ?? 0));
    const tested = result.domains[task.arguments.domain]?.utterances ?? 0;
    const heading = h("h2", {}, t(`learn.verdict.${verdict}`));
    const recordMore = ["uncertain gain", "no gain", "regression"].includes(verdict)
      ? h("button", { type: "button", class: "primary", id: "more", onclick: async () => { await post("/task/dismiss").catch(() => {}); location.hash = "record"; } }, t("learn.more")) : null;
    const keep = h("button", { type: "button", class: recordMore || isBad ? null : "primary", id: "keep", onclick: (event) => {
      if (!isBad || confirm(t("learn.keep.ask"))) forget(event);
    } }, t(isBad ? "learn.keep.anyway" : result.promoted ? "learn.keep" : "learn.understood"));
    const undo = result.promoted && result.edit ? h("button", { type: "button", class: isBad ? "primary" : null, id: "undo", onclick: () => { undo.disabled = keep.disabled = true; takeBack(result.edit.id); } }, t("learn.undo")) : null;
    const why = isBad ? whyWorseNow(result.domains) : result.promoted ? "" : refusal(result);
    fill(stage, h("section", { class: "card" }, heading, h("p", {}, t(`learn.verdict.${verdict}.text`, { n: tested, more, why })),
      scores(result.domains),
      result.retired_terms.length ? h("p", {}, t("learn.retired", { words: result.retired_terms.join(", ") })) : null,
      h("div", { class: "row actions" }, recordMore, isBad ? [undo, keep] : [keep, undo]),
      details(t("details"), table(result.domains), result.reasons.length ? h("ul", {}, result.reasons.map((reason) => h("li", {}, reason))) : null,
        facts([[t("details.edit"), result.edit?.id], [t("details.domain"), result.edit?.domains.join(", ")], [t("details.method"), result.edit?.method],
          ["lambda", result.edit?.settings.lam], [t("details.density"), result.edit?.settings.density], [t("details.norm"), result.norm.toFixed(3)],
          [t("details.losses"), result.losses.map((loss) => loss.toFixed(3)).join(", ")], [t("details.seconds"), result.tuning_s]]))));
    if (moveFocus) focus(heading);
    announce(heading.textContent);
  }

  async function takeBack(edit) {
    let task;
    try {
      task = await post(`/history/${edit}/revert`);
    } catch (error) { // something else runs, or it was taken back in another window
      showStart(await get("/learning"), problem(t("failed"), error.message));
      return;
    }
    const inside = h("div", { class: "stack" });
    fill(stage, h("section", { class: "card" }, h("h2", {}, t(`task.kind.${task.kind}`)), inside));
    stopFollowing = follow(inside, async (ended) => {
      const restored = ended.result?.restored_terms ?? [];
      const text = ended.status !== "done" ? t("failed") : [t("learn.undone"), restored.length ? t("learn.restored", { words: restored.join(", ") }) : ""].join(" ").trim();
      await post("/task/dismiss").catch(() => {});
      announce(text);
      showStart(await get("/learning"), h("div", { class: `notice ${ended.status === "done" ? "good" : "bad"}`, role: "status" }, h("p", {}, text)));
    });
  }

  await load();
  return () => stopFollowing();
}

const domainOf = (task, found) => found.domains.find((one) => one.domain === task.arguments.domain);

/** Whether what was learned last is not in use, alone or as a part of a merge. */
const isUnused = (one) => one.last_edit && !["active", "merged"].includes(one.last_edit);

function advice(one, found) {
  if (one.labelled < found.fewest) return t("learn.until", { n: found.fewest - one.labelled });
  if (one.has_nothing_to_gain) return t("learn.perfect");
  const unused = isUnused(one) ? t("learn.unused") : "";
  if (one.new === 0) return unused || t("learn.nothing.new");
  const fresh = one.last_edit ? t("learn.new", { n: one.new }) : "";
  const enough = one.labelled < found.enough ? t("learn.can", { n: found.enough }) : t("learn.enough");
  return [unused, fresh, enough].filter(Boolean).join(" ");
}
