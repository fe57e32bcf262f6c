// A line in the frame while a task takes long, and when learning has ended, in views that do not show it themselves.

import { get } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { t } from "./strings.js";
import { briefly } from "./tasks.js";

const POLL_MS = 3000;
const SHOWS_IT = ["learn", "history"];

let timer = 0;
let number = 0;

/** Shows the line in the view with this name; looks again while the task runs. */
export async function showActivity(view, line = document.getElementById("activity")) {
  clearTimeout(timer);
  const mine = ++number;
  const wasRunning = !line.hidden && "running" in line.dataset;
  const task = await get("/task").catch(() => null); // the next view looks again
  if (mine !== number) return;
  const isRunning = task?.status === "running";
  const isOver = task?.kind === "learn" && !isRunning && !["none", "stopped"].includes(task.status);
  line.hidden = SHOWS_IT.includes(view) || !(isRunning || isOver);
  if (line.hidden) return;
  delete line.dataset.running;
  if (isRunning) {
    line.dataset.running = "";
    fill(line, h("a", { href: task.kind === "learn" ? "#learn" : "#history" }, `${t(`task.kind.${task.kind}`)} … ${briefly(task)}`.trim()));
    timer = setTimeout(() => showActivity(view, line), POLL_MS);
  } else {
    fill(line, h("a", { href: "#learn" }, t("activity.over")));
    if (wasRunning) announce(t("activity.over"));
  }
}
