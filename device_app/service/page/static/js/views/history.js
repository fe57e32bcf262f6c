// History: what was learned, what it did, and how strongly it is used.

import { get, post } from "../api.js";
import { chart } from "../chart.js";
import { announce, fill, focus, h, newId } from "../dom.js";
import { details, facts, GENERAL, scores, table } from "../scores.js";
import { follow } from "../tasks.js";
import { t, when } from "../strings.js";

export async function show(box) {
  let stops = [];
  const picture = h("section", { class: "card", "aria-labelledby": "over-time" });
  const list = h("div");
  fill(box, h("h1", {}, t("history.title")), h("p", { class: "intro" }, t("history.intro")), picture, list);

  async function load(message = null) {
    stops.forEach((stop) => stop());
    stops = [];
    const [found, task] = [await get("/history"), await get("/task")];
    showPicture(found);
    const isBusy = task.status === "running";
    fill(list, message ? h("div", { class: `notice ${message.kind}`, role: "status" }, h("p", {}, message.text), message.detail ? details(t("details"), h("p", { class: "small" }, message.detail)) : null) : null,
      isBusy ? running(task) : null,
      found.edits.length ? found.edits.map((edit) => card(edit, isBusy)) : h("div", { class: "card stack" }, h("p", {}, t("history.none")), h("p", {}, h("a", { href: "#learn" }, t("correct.learn")))));
    if (message) announce(message.text);
  }

  function running(task) {
    const inside = h("div", { class: "stack" });
    stops.push(follow(inside, () => load()));
    return h("section", { class: "card" }, h("h2", {}, t(`task.kind.${task.kind}`)), inside);
  }

  function showPicture(found) {
    picture.hidden = found.versions.length < 2;
    if (picture.hidden) return;
    const names = [...new Set(found.versions.flatMap((version) => Object.keys(version.wer)))];
    const isMissing = found.versions.some((version) => names.some((name) => version.wer[name] === undefined));
    const drawing = h("div", { class: "chart" });
    const measure = h("button", { type: "button", onclick: () => run("/history/measure", {}, picture, () => ({ kind: "good", text: t("history.measured") })) }, t("history.measure"));
    const rows = found.versions.map((version, i) => h("tr", {}, h("th", { scope: "row" }, String(i)), h("td", {}, version.why),
      names.map((name) => h("td", {}, version.wer[name] === undefined ? "–" : `${(100 * version.wer[name]).toFixed(1)} %`))));
    fill(picture, h("h2", { id: "over-time" }, t("history.picture")), h("p", { class: "muted" }, t("history.picture.text")), drawing,
      isMissing ? h("div", { class: "row" }, measure) : null,
      details(t("details"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("details.versions") }, h("table", {}, h("caption", {}, t("details.versions")),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("details.version")), h("th", { scope: "col" }, t("details.change")), names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)))));
    requestAnimationFrame(() => { if (drawing.isConnected) stops.push(chart(drawing, found.versions, names, GENERAL)); });
  }

  function card(edit, isBusy) {
    const heading = newId();
    const isActive = edit.state === "active";
    const changes = {};
    for (const [name, before] of Object.entries(edit.before)) {
      if (edit.latest[name] !== undefined) changes[name] = { before, after: edit.latest[name] };
    }
    const inside = h("div", { class: "stack" });
    const title = t(`history.kind.${edit.kind}`, { n: edit.utterances });
    const button = isActive
      ? h("button", { type: "button", class: "danger", disabled: isBusy, onclick: () => change(edit, `/history/${edit.id}/revert`, {}, inside, "history.reverted") }, t("history.revert"), h("span", { class: "hidden" }, `: ${title}`))
      : h("button", { type: "button", class: "primary", disabled: isBusy, onclick: () => change(edit, `/history/${edit.id}/reweight`, {}, inside, "history.used") }, t("history.use"), h("span", { class: "hidden" }, `: ${title}`));
    return h("section", { class: "card", "aria-labelledby": heading },
      h("div", { class: "row between" }, h("h2", { id: heading }, title), h("span", { class: `tag ${isActive ? "good" : ""}` }, t(`history.state.${edit.state}`))),
      h("p", { class: "muted" }, when(edit.created)),
      Object.keys(changes).length ? scores(changes) : null,
      typeof edit.settings.lam === "number" ? slider(edit, isBusy) : null,
      h("div", { class: "row actions" }, button), inside,
      details(t("details"), table(changes), edit.reasons.length ? h("ul", {}, edit.reasons.map((reason) => h("li", {}, reason))) : null,
        facts([[t("details.edit"), edit.id], [t("details.domain"), edit.domain], [t("details.method"), edit.method],
          ["lambda", typeof edit.settings.lam === "number" ? edit.settings.lam : JSON.stringify(edit.settings.lam)], [t("details.density"), edit.settings.density],
          [t("details.utterances"), edit.utterances || null]])));
  }

  function slider(edit, isBusy) {
    const id = newId();
    const inside = h("div", { class: "stack" });
    const now = Math.round(100 * edit.settings.lam);
    const text = h("output", { for: id }, t("history.strength.value", { n: now }));
    const input = h("input", { type: "range", id, min: 0, max: Math.max(100, now), step: 5, disabled: isBusy, value: now, "aria-describedby": `${id}-help`,
      "aria-valuetext": t("history.strength.value", { n: now }) });
    const act = h("div", { class: "row" });
    input.addEventListener("input", () => {
      text.textContent = t("history.strength.value", { n: input.value });
      input.setAttribute("aria-valuetext", text.textContent);
      fill(inside);
      fill(act, Number(input.value) === now ? null : h("button", { type: "button", onclick: preview }, t("history.preview")));
    });
    async function preview() {
      const lam = Number(input.value) / 100;
      input.disabled = true;
      fill(act);
      const ended = await taskIn(`/history/${edit.id}/preview`, { lam }, inside);
      input.disabled = false;
      if (ended.status !== "done") {
        fill(inside, h("p", { role: "status" }, t(ended.status === "stopped" ? "history.stopped" : "failed")), ended.error ? h("p", { class: "small" }, ended.error) : null);
        return;
      }
      await post("/task/dismiss").catch(() => {});
      const { result } = ended;
      const use = h("button", { type: "button", class: "primary", disabled: !result.passes, onclick: () => change(edit, `/history/${edit.id}/reweight`, { lam }, inside, "history.reweighted") }, t("history.strength.use", { n: input.value }));
      const words = t(result.passes ? "history.preview.text" : "history.preview.refused");
      fill(inside, h("div", { class: "notice", role: "status" }, h("p", {}, words)), scores(result.domains, "scores.now", "scores.then"), h("div", { class: "row" }, use));
      focus(result.passes ? use : input);
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

  async function run(path, json, inside, toMessage) {
    const place = h("div", { class: "stack" });
    inside.append(place);
    const ended = await taskIn(path, json, place);
    await post("/task/dismiss").catch(() => {});
    return load(ended.status === "done" ? toMessage(ended.result) : { kind: "bad", text: t(ended.status === "stopped" ? "history.stopped" : "failed"), detail: ended.error });
  }

  async function change(edit, path, json, inside, key) {
    fill(inside);
    await run(path, json, inside, (result) => (result.promoted === false
      ? { kind: "bad", text: t("history.refused"), detail: result.reasons.join(" ") } : { kind: "good", text: t(key) }));
    focus(list.querySelector(".notice"));
  }

  await load();
  return () => stops.forEach((stop) => stop());
}
