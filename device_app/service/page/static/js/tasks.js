// Shows the task of the service that takes long: its progress while it runs, and a button that stops it.

import { get, post } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { has, t } from "./strings.js";

const POLL_MS = 700;

/**
 * Follows the task in a box until it ends.
 * @param {HTMLElement} box
 * @param {(task: object) => void} onEnd called once with the task that has ended.
 * @returns {() => void} stops following; the task itself goes on.
 */
export function follow(box, onEnd) {
  let isOver = false;
  let timer = 0;
  const step = h("p", { class: "step" }, t("task.starting"));
  const bar = h("progress", { max: 1, "aria-label": t("task.progress") });
  const figures = h("p", { class: "muted small" }, "\u00a0");
  const stopButton = h("button", { type: "button", onclick: async () => {
    stopButton.disabled = true;
    stopButton.textContent = t("task.stopping");
    await post("/task/stop").catch(() => {});
  } }, t("task.stop"));
  fill(box, step, bar, figures, h("div", { class: "row" }, stopButton));

  async function look() {
    let task;
    try {
      task = await get("/task");
    } catch {
      figures.textContent = t("offline.waiting");
      timer = setTimeout(look, 2 * POLL_MS);
      return;
    }
    if (isOver) return;
    if (task.status !== "running") {
      isOver = true;
      fill(box);
      onEnd(task);
      return;
    }
    const text = stepText(task);
    if (step.textContent !== text) {
      step.textContent = text;
      announce(text);
    }
    if (task.total > 0) bar.value = Math.min(1, task.done / task.total);
    else bar.removeAttribute("value");
    figures.textContent = task.total > 0 ? t("task.percent", { n: Math.floor(100 * Math.min(1, task.done / task.total)) }) : "\u00a0";
    timer = setTimeout(look, POLL_MS);
  }
  look();
  return () => { isOver = true; clearTimeout(timer); };
}

function stepText(task) {
  const known = `step.${task.step}`;
  if (has(known)) return t(known);
  const kind = `task.kind.${task.kind}`;
  return task.step.startsWith("transcribing with version") ? t("step.version") : has(kind) ? t(kind) : t("task.working");
}
