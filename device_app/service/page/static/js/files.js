// Files that are transcribed, one after the other, and their texts.

import { ApiError, send } from "./api.js";
import { copying } from "./copy.js";
import { announce, download, fill, focus, h, newId } from "./dom.js";
import { details } from "./scores.js";
import { duration, spoken, t } from "./strings.js";
import { words } from "./words.js";

const TYPES = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt" };
const FINAL = new Set(["not audio", "unknown kind"]); // reasons for which to try again cannot help

let unfinished = 0;
window.addEventListener("beforeunload", (event) => { if (unfinished) event.preventDefault(); });

/**
 * The card of a person's files.
 * @param {Transcribed} kept what was transcribed before, and is now.
 * @param {string} owner the name of the person's model.
 */
export function fileCard(kept, owner) {
  const list = h("ul", { class: "list" });
  const input = h("input", { type: "file", multiple: true, id: newId() });
  const drop = h("div", { class: "drop" }, h("label", { for: input.id }, t("transcribe.choose")), input, h("p", { class: "muted small" }, t("transcribe.drop")));
  let queue = Promise.resolve();
  input.addEventListener("change", () => { add(input.files); input.value = ""; });
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, () => drop.classList.add("over"));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));

  function add(files) {
    for (const file of files) list.prepend(started(file));
  }

  /** The row of a file that is transcribed when those before it are. */
  function started(file) {
    const row = fileRow({ name: file.name, segments: [], end: null }, { owner, file, keep, again, clear });
    unfinished++;
    queue = queue.then(row.run).finally(() => { unfinished--; });
    return row.element;
  }

  /** Keeps a transcript that has ended. */
  function keep(transcript) {
    kept.files.unshift(transcript);
    kept.save();
  }

  function forget(transcript) {
    kept.files = kept.files.filter((one) => one !== transcript);
    kept.save();
  }

  function again(transcript, file, element) {
    forget(transcript);
    const row = started(file);
    element.replaceWith(row);
    focus(row.querySelector("button"));
  }

  function clear(transcript, element) {
    forget(transcript);
    element.remove();
    focus(input);
  }

  for (const transcript of kept.files) list.append(fileRow(transcript, { clear }).element);
  return { onDrop: (event) => add(event.dataTransfer.files),
    element: h("section", { class: "card stack", "aria-labelledby": "files" }, h("h2", { id: "files" }, t("transcribe.files")), drop, list) };
}

/**
 * The row of a file.
 * @param {{name: string, segments: Array, end: ?object}} transcript as in Transcribed; without an end, `run` transcribes `file`.
 */
function fileRow(transcript, { owner, file, keep, again, clear }) {
  const { name } = transcript;
  const abort = new AbortController();
  const status = h("p", { role: "status", class: "muted" }, t("transcribe.waiting"));
  const bar = h("progress", { "aria-label": t("transcribe.progress", { name }), hidden: true });
  const text = h("div", { class: "text-box", tabindex: "0", role: "region", "aria-label": t("transcribe.text", { name }), hidden: true });
  const notes = h("div", { class: "stack" });
  const actions = h("div", { class: "row" }, named("transcribe.stop", () => abort.abort()));
  const element = h("li", {}, h("div", { class: "grow stack" }, h("h3", {}, name), status, bar, text, notes, actions));
  transcript.segments.forEach(write);
  if (transcript.end) drawEnd();

  function named(key, onclick) {
    return h("button", { type: "button", onclick }, t(key), h("span", { class: "hidden" }, ` ${name}`));
  }

  async function run() {
    status.textContent = t("transcribe.reading");
    bar.hidden = false;
    const form = new FormData();
    form.append("file", file);
    try {
      abort.signal.throwIfAborted(); // stopped while it waited
      const response = await send("POST", "/transcribe", { body: form, signal: abort.signal, as: owner });
      for await (const event of lines(response.body)) {
        if (event.segment) onSegment(event.segment);
        else transcript.end = event;
      }
      transcript.end ??= { reason: "offline" };
    } catch (error) {
      transcript.end = error.name === "AbortError" ? { reason: "stopped" }
        : error instanceof ApiError && error.status ? { error: error.message } : { reason: "offline" };
    }
    delete transcript.end.files?.json; // the page does not offer it
    keep(transcript);
    drawEnd();
    announce(`${name}: ${status.textContent}`);
  }

  function onSegment(segment) {
    const found = segment.words.map((word) => ({ text: word.text, is_sure: word.is_sure }));
    transcript.segments.push(found);
    write(found);
    text.scrollTop = text.scrollHeight;
    status.textContent = t("transcribe.at", { time: duration(segment.end_s) });
  }

  function write(segment) {
    text.hidden = false;
    text.append(h("span", {}, words(segment)), " ");
  }

  function drawEnd() {
    const { files, seconds, warning, error, reason } = transcript.end;
    bar.remove();
    if (files) status.textContent = files.txt ? t("transcribe.done", { time: spoken(seconds) }) : t("transcribe.empty");
    else status.textContent = reason === "offline" ? t("offline.service") : t(`transcribe.end.${reason ?? "failed"}`);
    if (!files && reason !== "stopped") status.className = "notice bad";
    const hasUnsure = transcript.segments.some((segment) => segment.some((word) => !word.is_sure));
    const technical = warning || error;
    fill(notes, hasUnsure ? h("p", { class: "muted small" }, t("correct.unsure")) : null,
      warning ? h("p", { class: "notice bad" }, t("transcribe.damaged")) : null,
      technical ? details(t("details"), h("p", { class: "small muted" }, technical)) : null);
    const copy = copying(() => files?.txt ?? spokenWords(), text, name);
    fill(actions, transcript.segments.length ? copy.button : null, files?.txt ? Object.entries(TYPES).map(([suffix, type]) => save(suffix, type)) : null,
      !files && file && !FINAL.has(reason) ? named("again", () => again(transcript, file, element)) : null,
      named("clear", () => clear(transcript, element)), copy.message);
  }

  function save(suffix, type) {
    const stem = name.replace(/\.[^.]*$/, "");
    const button = named(`transcribe.${suffix}`, () => download(`${stem}.${suffix}`, transcript.end.files[suffix], type));
    button.dataset.format = suffix;
    return button;
  }

  const spokenWords = () => transcript.segments.map((segment) => segment.map((word) => word.text).join(" ")).join("\n");

  return { element, run };
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
