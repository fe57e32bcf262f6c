// Shows the task of the service that takes long: its progress while it runs, and a button that stops it.

import { get, post } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { has, spoken, t } from "./strings.js";

const POLL_MS = 700;
// The steps of a task, each with the starts of the names that the process gives to its parts.
const LEARN = [["transcribing with the active version"], ["transcribing the training set"], ["Fine-tuning on", "fine-tuning"],
  ["transcribing with the new version", "checking corrected words"]];
const TRY = [["transcribing with the active version"], ["transcribing with the new version"]];
const STEPS = { learn: LEARN, preview: TRY, reweight: TRY };

/**
 * Follows the task in a box until it ends.
 * @param {HTMLElement} box
 * @param {(task: object) => void} onEnd called once with the task that has ended.
 * @param {?object} known how the task is, where that is known already.
 * @returns {() => void} stops following; the task itself goes on.
 */
export function follow(box, onEnd, known = null) {
  let isOver = false;
  let timer = 0;
  const step = h("p", { class: "step" }, t("task.starting"));
  const bar = h("progress", { max: 1, "aria-label": t("task.progress") });
  const figures = h("p", { class: "muted small" }, "\u00a0");
  const note = h("p", { class: "muted" }, t("task.close"));
  const stopButton = h("button", { type: "button", onclick: async () => {
    showStopping();
    announce(note.textContent);
    await post("/task/stop").catch(() => {});
  } }, t("task.stop"));
  fill(box, step, bar, figures, h("div", { class: "row" }, stopButton), note);

  function showStopping() {
    stopButton.disabled = true;
    stopButton.textContent = t("task.stopping");
    note.textContent = t("task.stopping.text");
  }

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
    showTask(task);
    timer = setTimeout(look, POLL_MS);
  }

  function showTask(task) {
    const text = stepText(task);
    if (step.textContent !== text) {
      step.textContent = text;
      announce(text);
    }
    if (task.stopping) showStopping();
    if (task.total > 0) bar.value = Math.min(1, task.done / task.total);
    else bar.removeAttribute("value");
    figures.textContent = figuresText(task);
  }
  if (known) showTask(known);
  look();
  return () => { isOver = true; clearTimeout(timer); };
}

/** How far a task is, in one line: "Step 2 of 4, 20 %"; "" if it does not say. */
export function briefly(task) {
  const place = placeOf(task);
  return [place ? t("task.place", place) : "", task.total > 0 ? percent(task) : ""].filter(Boolean).join(", ");
}

/** How far the step is: "20 %, about 3 minutes left". */
export const percent = (task) => t("task.percent", { n: Math.floor(100 * Math.min(1, task.done / task.total)) });

function figuresText(task) {
  const ofStep = !(task.total > 0) ? "" : task.left_s === null ? percent(task) : t("task.left", { percent: percent(task), time: spoken(task.left_s) });
  const ofAll = task.all_left_s > 0 ? t("task.left.all", { time: spoken(task.all_left_s) }) : "";
  return [ofStep, ofAll].filter(Boolean).join(" ") || "\u00a0";
}

/** What a task does now: "Step 2 of 4: Going through your recordings …". */
export function stepText(task) {
  const place = placeOf(task);
  const text = nameOf(task.step);
  return place ? t("task.step", { ...place, text }) : text;
}

/** Which of how many steps a task is at; null if that is not known. */
function placeOf(task) {
  const steps = STEPS[task.kind] ?? [];
  const place = steps.findIndex((names) => names.some((name) => task.step.startsWith(name)));
  return place < 0 ? null : { n: place + 1, of: steps.length };
}

function nameOf(step) {
  const [name] = step.split(": "); // what follows is a part of the step
  if (has(`step.${name}`)) return t(`step.${name}`);
  if (step.startsWith("Fine-tuning on")) return t("step.preparing.learning");
  if (step.startsWith("transcribing with version")) return t("step.version");
  return t("step.preparing"); // messages to users of the command line
}
