// History: what was learned, what it did, and how strongly it is used.

import { get, post } from "../api.js";
import { chart } from "../chart.js";
import { announce, fill, focus, h, newId } from "../dom.js";
import { details, facts, GENERAL, isWorse, refusal, scores, table, whyWorse } from "../scores.js";
import { follow } from "../tasks.js";
import { t, when } from "../strings.js";

/** What to say about a task that has ended. */
function messageOf({ kind, status, arguments: given, result, error }) {
  if (status === "stopped") return { kind: "", text: t("history.stopped") };
  if (status !== "done") return { kind: "bad", text: t("failed"), detail: error };
  if (result.promoted === false) return { kind: "", text: t("history.refused", { why: refusal(result) }), detail: result.reasons.join(" ") };
  if (kind === "measure") return { kind: "good", text: t("history.measured") };
  if (kind === "revert") {
    const restored = result.restored_terms ?? [];
    return { kind: "good", text: [t("history.reverted"), restored.length ? t("learn.restored", { words: restored.join(", ") }) : ""].join(" ").trim() };
  }
  return { kind: "good", text: given?.lam === undefined ? t("history.used") : t("history.reweighted", { n: Math.round(100 * given.lam) }) };
}

export async function show(box) {
  let stops = [];
  const picture = h("section", { class: "card", "aria-labelledby": "over-time" });
  const list = h("div");
  fill(box, h("h1", {}, t("history.title")), h("p", { class: "intro" }, t("history.intro")), picture, list);

  async function load(message = null) {
    stops.forEach((stop) => stop());
    stops = [];
    const [found, task] = [await get("/history"), await get("/task")];
    const isOpen = new Set([...box.querySelectorAll("details[open][data-of]")].map((one) => one.dataset.of));
    const busy = task.status === "running" ? task.kind : null;
    // A trial that ended while another view was shown is still there.
    const tried = task.kind === "preview" && task.status === "done" && task.result.version === found.next ? task : null;
    if (!message && !busy && !tried && !["learn", null].includes(task.kind)) {
      message = task.kind === "preview" && task.status === "done" ? null : messageOf(task); // a trial of an earlier version
      await post("/task/dismiss").catch(() => {});
    }
    showPicture(found, busy);
    fill(list, message ? h("div", { class: `notice ${message.kind}`, role: "status" }, h("p", {}, message.text), message.detail ? details(t("details"), h("p", { class: "small" }, message.detail)) : null) : null,
      busy ? running(task) : null,
      found.edits.length ? found.edits.map((edit) => card(edit, busy, tried?.arguments.edit === edit.id ? tried : null))
        : h("div", { class: "card stack" }, h("p", {}, t(busy === "learn" ? "history.none.yet" : "history.none")), h("p", {}, h("a", { href: "#learn" }, t("correct.learn")))));
    for (const one of box.querySelectorAll("details[data-of]")) one.open = isOpen.has(one.dataset.of);
    if (message) announce(message.text);
  }

  function running(task) {
    const inside = h("div", { class: "stack" });
    stops.push(follow(inside, () => load(), task));
    return h("section", { class: "card" }, h("h2", {}, t(`task.kind.${task.kind}`)), inside);
  }

  function showPicture(found, busy) {
    picture.hidden = found.versions.length < 2;
    if (picture.hidden) return;
    const names = [...new Set(found.versions.flatMap((version) => Object.keys(version.wer)))];
    const isMissing = found.versions.some((version) => names.some((name) => version.wer[name] === undefined));
    const drawing = h("div", { class: "chart" });
    const measure = h("button", { type: "button", disabled: busy !== null, onclick: () => run("/history/measure", {}, picture) }, t("history.measure"));
    const rows = found.versions.map((version, i) => h("tr", {}, h("th", { scope: "row" }, String(i)), h("td", {}, version.why),
      names.map((name) => h("td", {}, version.wer[name] === undefined ? "–" : `${(100 * version.wer[name]).toFixed(1)}\u00a0%`))));
    fill(picture, h("h2", { id: "over-time" }, t("history.picture")), h("p", { class: "muted" }, t("history.picture.text")), drawing,
      isMissing ? h("div", { class: "row" }, measure) : null,
      remembered("picture", h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("details.versions") }, h("table", {}, h("caption", {}, t("details.versions")),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("details.version")), h("th", { scope: "col" }, t("details.change")), names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)))));
    requestAnimationFrame(() => { if (drawing.isConnected) stops.push(chart(drawing, found.versions, names, GENERAL)); });
  }

  /** "Details" that stay open when the view is drawn again. */
  function remembered(name, ...children) {
    const found = details(t("details"), ...children);
    found.dataset.of = name;
    return found;
  }

  function card(edit, busy, tried) {
    const heading = newId();
    const isBusy = busy !== null;
    const isActive = edit.state === "active";
    const isHeldBack = edit.state === "kept out";
    const isMerged = edit.state === "merged"; // another edit has it; that one can be changed
    const strength = typeof edit.settings.lam === "number" && !isMerged ? edit.settings.lam : null;
    const changes = {};
    for (const [name, before] of Object.entries(edit.before)) {
      if (edit.latest[name] !== undefined) changes[name] = { before, after: edit.latest[name] };
    }
    const inside = h("div", { class: "stack below" });
    const title = t(`history.kind.${edit.kind}`, { n: edit.utterances }) + (edit.held_out ? t("history.tested", { n: edit.held_out }) : "");
    const use = isHeldBack ? t("history.retest") : strength === null ? t("history.use") : t("history.strength.use", { n: Math.round(100 * strength) });
    const isBad = !isActive && !isHeldBack && !isMerged && isWorse(changes);
    const button = isMerged ? null : isActive
      ? h("button", { type: "button", class: "danger", disabled: isBusy, onclick: () => change(`/history/${edit.id}/revert`, {}, inside) }, t("history.revert"), h("span", { class: "hidden" }, `: ${title}`))
      : h("button", { type: "button", class: isHeldBack || isBad ? null : "primary", disabled: isBusy, onclick: () => {
        if (!isBad || confirm(t("history.worse.ask"))) change(`/history/${edit.id}/reweight`, strength === null ? {} : { lam: strength }, inside);
      } }, isBad ? t("history.worse.use") : use, h("span", { class: "hidden" }, `: ${title}`));
    const help = isBusy ? t(busy === "learn" ? "history.busy.learn" : "history.busy") : isActive ? null : isMerged ? t("history.merged.help") : t(isHeldBack ? "history.retest.help" : "history.use.help");
    const actions = h("div", {}, h("div", { class: "row actions" }, button, help ? h("span", { class: "muted small" }, help) : null));
    const held = isHeldBack ? h("p", {}, t("history.held", { why: refusal({ rejection: edit.rejection, domains: changes }) }), " ",
      ["uncertain gain", "no gain"].includes(edit.rejection) ? h("a", { href: "#record" }, t("learn.more")) : null) : null;
    return h("section", { class: "card", "aria-labelledby": heading },
      h("div", { class: "row between" }, h("h2", { id: heading }, title), h("span", { class: `tag ${isActive || isMerged ? "good" : ""}` }, t(`history.state.${edit.state}`))),
      h("p", { class: "muted" }, when(edit.created)), held, isBad ? h("p", {}, t("history.worse.out", { why: whyWorse(changes) }), " ", h("a", { href: "#record" }, t("learn.more"))) : null,
      Object.keys(changes).length ? scores(changes) : null,
      strength === null ? null : slider(edit, isBusy, tried, (isMoved) => { actions.hidden = isMoved && !isActive; }),
      actions, inside,
      remembered(String(edit.id), table(changes), edit.reasons.length ? h("ul", {}, edit.reasons.map((reason) => h("li", {}, reason))) : null,
        edit.retired_terms.length ? h("p", {}, t("history.retired", { words: edit.retired_terms.join(", ") })) : null,
        facts([[t("details.edit"), edit.id], [t("details.domain"), edit.domain], [t("details.method"), edit.method],
          ["lambda", typeof edit.settings.lam === "number" ? edit.settings.lam : JSON.stringify(edit.settings.lam)], [t("details.density"), edit.settings.density],
          [t("details.utterances"), edit.utterances || null]])));
  }

  /** `onMove` is called with whether another strength is chosen than the one of the edit. */
  function slider(edit, isBusy, tried, onMove) {
    const id = newId();
    const inside = h("div", { class: "stack below" });
    const now = Math.round(100 * edit.settings.lam);
    const text = h("output", { for: id }, t("history.strength.value", { n: now }));
    const input = h("input", { type: "range", id, min: 0, max: Math.max(100, now), step: 5, disabled: isBusy, value: now, "aria-describedby": `${id}-help`,
      "aria-valuetext": t("history.strength.value", { n: now }) });
    const act = h("div", { class: "row" });
    let isKept = tried !== null;
    function showValue() {
      text.textContent = t("history.strength.value", { n: input.value });
      input.setAttribute("aria-valuetext", text.textContent);
    }
    input.addEventListener("input", () => {
      showValue();
      fill(inside);
      const isMoved = Number(input.value) !== now;
      fill(act, isMoved ? [h("button", { type: "button", onclick: preview }, t("history.preview")), h("span", { class: "muted small" }, t("history.preview.help"))] : null);
      onMove(isMoved);
      if (isKept) post("/task/dismiss").catch(() => {});
      isKept = false;
    });
    async function preview() {
      const lam = Number(input.value) / 100;
      input.disabled = true;
      fill(act);
      const ended = await taskIn(`/history/${edit.id}/preview`, { lam }, inside);
      input.disabled = false;
      if (ended.status !== "done") {
        fill(inside, h("p", { role: "status" }, t(ended.status === "stopped" ? "history.stopped" : "failed")), ended.error ? h("p", { class: "small" }, ended.error) : null);
        await post("/task/dismiss").catch(() => {});
        return;
      }
      isKept = true;
      focus(showTrial(ended.result, lam) ?? input);
    }
    function showTrial(result, lam) {
      const isBad = result.passes && isWorse(result.domains);
      const use = h("button", { type: "button", class: isBad ? null : "primary", onclick: () => {
        if (!isBad || confirm(t("history.worse.ask"))) change(`/history/${edit.id}/reweight`, { lam }, inside);
      } }, t(isBad ? "history.worse.use" : "history.strength.use", { n: input.value }));
      const leave = h("button", { type: "button", class: "primary", onclick: () => {
        input.value = now;
        input.dispatchEvent(new Event("input"));
        announce(t("history.worse.left"));
        focus(input);
      } }, t("history.worse.leave"));
      const words = isBad ? t("history.worse.text", { why: whyWorse(result.domains) })
        : result.passes ? t("history.preview.text") : t("history.preview.refused", { why: refusal(result) });
      fill(inside, h("div", { class: `notice ${isBad ? "bad" : ""}`, role: "status" }, h("p", {}, words),
        isBad ? h("p", {}, t("history.worse.more"), " ", h("a", { href: "#record" }, t("learn.more"))) : null), scores(result.domains, "scores.now", "scores.then"),
      isBad ? h("div", { class: "row" }, leave, use) : result.passes ? h("div", { class: "row" }, use, h("span", { class: "muted small" }, t("history.use.help"))) : null);
      onMove(true);
      return isBad ? leave : result.passes ? use : null;
    }
    if (tried) {
      input.value = Math.round(100 * tried.arguments.lam);
      showValue();
      showTrial(tried.result, tried.arguments.lam);
    }
    return h("div", { class: "field" }, h("div", { class: "row between" }, h("label", { for: id }, t("history.strength")), text), input,
      h("div", { class: "ends", "aria-hidden": "true" }, h("span", {}, t("history.strength.none")), h("span", {}, t("history.strength.full"))),
      h("p", { class: "muted small", id: `${id}-help` }, t("history.strength.help")), act, inside);
  }

  /** Starts a task, follows it in a box, and returns it when it has ended. */
  async function taskIn(path, json, inside) {
    for (const one of list.querySelectorAll(".actions button, input[type=range]")) one.disabled = true;
    let ended;
    try {
      await post(path, json);
      ended = await new Promise((resolve) => stops.push(follow(inside, resolve)));
    } catch (error) {
      ended = { status: "failed", error: error.message };
    }
    for (const one of list.querySelectorAll(".actions button, input[type=range]")) one.disabled = false;
    return ended;
  }

  async function run(path, json, inside) {
    const place = h("div", { class: "stack" });
    inside.append(place);
    const ended = await taskIn(path, json, place);
    await post("/task/dismiss").catch(() => {});
    return load(messageOf(ended));
  }

  async function change(path, json, inside) {
    fill(inside);
    list.querySelector(":scope > .notice")?.remove(); // about the change before
    await run(path, json, inside);
    focus(list.querySelector(".notice"));
  }

  await load();
  return () => stops.forEach((stop) => stop());
}
