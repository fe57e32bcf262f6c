// Transcribe: the microphone live, and files.

import { send } from "../api.js";
import { announce, download, fill, h, newId } from "../dom.js";
import { Dictation } from "../live.js";
import { problemOf } from "../microphone.js";
import { duration, spoken, t } from "../strings.js";
import { words } from "../words.js";

const TYPES = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt" };

export function show(box) {
  const speaking = liveCard();
  const files = fileCard();
  fill(box, h("h1", {}, t("transcribe.title")), h("p", { class: "intro" }, t("transcribe.intro")), speaking.element, files.element);
  return () => { speaking.stop(); files.stop(); };
}

function liveCard() {
  let dictation = null;
  const final = h("span", { "aria-live": "polite" });
  const partial = h("span", { class: "partial" });
  const text = h("div", { class: "text-box", tabindex: "0", role: "region", "aria-label": t("transcribe.live.text") }, final, partial);
  const status = h("p", { role: "status", class: "muted" }, t("transcribe.live.ready"));
  const start = h("button", { type: "button", class: "primary large", id: "live-start" });
  const copy = h("button", { type: "button", disabled: true, onclick: async () => { await navigator.clipboard.writeText(final.textContent.trim()); announce(t("copied")); } }, t("copy"));
  const clear = h("button", { type: "button", disabled: true, onclick: () => { final.textContent = ""; copy.disabled = clear.disabled = true; } }, t("clear"));
  draw();
  start.addEventListener("click", () => (dictation ? stop() : begin()));

  function draw() {
    start.className = dictation ? "recording large" : "primary large";
    fill(start, h("span", { "aria-hidden": "true" }, dictation ? "■" : "●"), t(dictation ? "transcribe.live.stop" : "transcribe.live.start"));
  }

  async function begin() {
    status.textContent = t("record.starting");
    start.disabled = true;
    const mine = new Dictation({
      onPartial: (found) => { partial.textContent = found ? ` ${found}` : ""; text.scrollTop = text.scrollHeight; },
      onFinal: (found) => {
        partial.textContent = "";
        final.append(`${final.textContent ? " " : ""}${found}`);
        copy.disabled = clear.disabled = false;
        text.scrollTop = text.scrollHeight;
      },
      onEnd: (key) => { if (dictation === mine) { dictation = null; partial.textContent = ""; status.textContent = t(key); draw(); } },
    });
    try {
      await mine.start();
      dictation = mine;
      status.textContent = t("transcribe.live.speak");
    } catch (error) {
      mine.stop();
      status.textContent = error.name === "ServiceError" ? t("transcribe.live.missing") : t(problemOf(error));
    }
    start.disabled = false;
    draw();
  }

  function stop() {
    if (!dictation) return;
    status.textContent = t("transcribe.live.stopping");
    dictation.stop();
  }

  return { stop, element: h("section", { class: "card", "aria-labelledby": "live" }, h("h2", { id: "live" }, t("transcribe.live")), status, text,
    h("div", { class: "row actions" }, start, copy, clear)) };
}

function fileCard() {
  const aborts = new Set();
  const list = h("ul", { class: "list" });
  const input = h("input", { type: "file", multiple: true, id: newId() });
  let queue = Promise.resolve();
  input.addEventListener("change", () => { add(input.files); input.value = ""; });
  const drop = h("div", { class: "drop" }, h("label", { for: input.id }, t("transcribe.choose")), input, h("p", { class: "muted small" }, t("transcribe.drop")));
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); add(event.dataTransfer.files); });

  function add(files) {
    for (const file of files) {
      const row = rowOf(file);
      list.prepend(row.element);
      queue = queue.then(row.run);
    }
  }

  function rowOf(file) {
    const abort = new AbortController();
    const status = h("p", { role: "status", class: "muted" }, t("transcribe.waiting"));
    const bar = h("progress", { "aria-label": t("transcribe.progress", { name: file.name }) });
    const text = h("div", { class: "text-box", tabindex: "0", role: "region", "aria-label": t("transcribe.text", { name: file.name }), hidden: true });
    const actions = h("div", { class: "row" });
    const stop = h("button", { type: "button", onclick: () => abort.abort() }, t("transcribe.stop"), h("span", { class: "hidden" }, ` ${file.name}`));
    fill(actions, stop);
    const element = h("li", {}, h("div", { class: "grow stack" }, h("h3", {}, file.name), status, bar, text, actions));

    async function run() {
      aborts.add(abort);
      status.textContent = t("transcribe.reading");
      const form = new FormData();
      form.append("file", file);
      try {
        const response = await send("POST", "/transcribe", { body: form, signal: abort.signal });
        for await (const event of lines(response.body)) onEvent(event);
      } catch (error) {
        end(error.name === "AbortError" ? t("transcribe.stopped") : t("transcribe.failed"), error.name === "AbortError" ? "" : error.message);
      }
      aborts.delete(abort);
    }

    function onEvent(event) {
      if (event.segment) {
        text.hidden = false;
        text.append(h("span", {}, words(event.segment.words)), " ");
        text.scrollTop = text.scrollHeight;
        status.textContent = t("transcribe.at", { time: duration(event.segment.end_s) });
      } else if (event.error) {
        end(t("transcribe.failed"), event.error);
      } else {
        end(event.files.txt ? t("transcribe.done", { time: spoken(event.seconds) }) : t("transcribe.empty"), event.warning);
        const stem = file.name.replace(/\.[^.]*$/, "");
        fill(actions, h("button", { type: "button", onclick: async () => { await navigator.clipboard.writeText(event.files.txt); announce(t("copied")); } }, t("copy")),
          Object.entries(TYPES).map(([suffix, type]) => h("button", { type: "button", "data-format": suffix, onclick: () => download(`${stem}.${suffix}`, event.files[suffix], type) }, t(`transcribe.${suffix}`))));
        announce(status.textContent);
      }
    }

    function end(message, detail) {
      bar.remove();
      fill(actions);
      status.textContent = message;
      if (detail) status.after(h("p", { class: "small muted" }, detail));
    }

    return { element, run };
  }

  return { stop: () => aborts.forEach((abort) => abort.abort()),
    element: h("section", { class: "card stack", "aria-labelledby": "files" }, h("h2", { id: "files" }, t("transcribe.files")), drop, list) };
}

/** The JSON lines of a stream. */
async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (left + (value ?? "")).split("\n");
    left = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
    if (done) return;
  }
}
