// Transcribe: the microphone live, and files.

import { model } from "../api.js";
import { copying } from "../copy.js";
import { fill, h } from "../dom.js";
import { fileCard } from "../files.js";
import { Dictation } from "../live.js";
import { problemOf } from "../microphone.js";
import { t } from "../strings.js";
import { Transcribed } from "../transcribed.js";

const cards = new Map(); // of each owner of a model; they stay while another view is shown, and files go on there

export function show(box) {
  const owner = model();
  if (!cards.has(owner)) {
    const kept = new Transcribed(owner);
    cards.set(owner, [liveCard(kept), fileCard(kept, owner)]);
  }
  const [speaking, files] = cards.get(owner);
  fill(box, h("h1", {}, t("transcribe.title")), h("p", { class: "intro" }, t("transcribe.intro")), speaking.element, files.element);
  window.addEventListener("drop", files.onDrop);
  return () => { speaking.stop(); window.removeEventListener("drop", files.onDrop); };
}

function liveCard(kept) {
  let dictation = null;
  const final = h("span", { "aria-live": "polite" }, kept.live);
  const partial = h("span", { class: "partial" });
  const text = h("div", { class: "text-box", tabindex: "0", role: "region", "aria-label": t("transcribe.live.text") }, final, partial);
  const status = h("p", { role: "status", class: "muted" }, t("transcribe.live.ready"));
  const problem = h("p", { role: "alert", class: "hidden" });
  const start = h("button", { type: "button", class: "primary large", id: "live-start" });
  const copy = copying(() => final.textContent, final);
  const clear = h("button", { type: "button", onclick: () => { final.textContent = ""; keep(); } }, t("clear"));
  const element = h("section", { class: "card", "aria-labelledby": "live" }, h("h2", { id: "live" }, t("transcribe.live")), status, problem, text,
    h("div", { class: "row actions" }, start, copy.button, clear), copy.message);
  draw();
  keep();
  start.addEventListener("click", () => (dictation ? stop() : begin()));

  function draw(label = dictation ? "transcribe.live.stop" : "transcribe.live.start") {
    start.className = dictation ? "recording large" : "primary large";
    fill(start, h("span", { "aria-hidden": "true" }, dictation ? "■" : "●"), t(label));
  }

  function keep() {
    kept.live = final.textContent;
    kept.save();
    copy.button.disabled = clear.disabled = !kept.live;
  }

  function write(found) {
    partial.textContent = "";
    if (!found) return;
    final.append(`${final.textContent ? " " : ""}${found}`);
    keep();
    text.scrollTop = text.scrollHeight;
  }

  function fail(key) {
    status.textContent = t("transcribe.live.ready");
    problem.className = "notice bad";
    problem.textContent = t(key);
    draw("again");
  }

  async function begin() {
    status.textContent = t("record.starting");
    problem.className = "hidden";
    problem.textContent = "";
    start.disabled = true;
    const mine = new Dictation({
      onPartial: (found) => { partial.textContent = found ? ` ${found}` : ""; text.scrollTop = text.scrollHeight; },
      onFinal: write,
      onEnd: (key) => {
        if (dictation !== mine) return;
        dictation = null;
        write(partial.textContent.trim()); // of a connection that broke
        if (key === "transcribe.live.ended") return fail(key);
        status.textContent = t(key);
        draw();
      },
    });
    try {
      await mine.start();
      start.disabled = false;
      dictation = mine;
      if (!element.isConnected) return stop(); // the person has gone to another view meanwhile
      status.textContent = t("transcribe.live.speak");
      draw();
    } catch (error) {
      start.disabled = false;
      mine.stop();
      fail(error.name === "ServiceError" ? "transcribe.live.missing" : problemOf(error));
    }
  }

  function stop() {
    if (!dictation) return;
    status.textContent = t("transcribe.live.stopping");
    dictation.stop();
  }

  return { stop, element };
}
