// Files that are transcribed, one after the other, and their texts.

import { ApiError, send } from "./api.js";
import { copying } from "./copy.js";
import { announce, download, fill, focus, h, newId } from "./dom.js";
import { details } from "./scores.js";
import { duration, exactly, spoken, t } from "./strings.js";
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
  const waiting = []; // rows, in the order in which they are transcribed
  const input = h("input", { type: "file", multiple: true, id: newId() });
  const drop = h("div", { class: "drop" }, h("label", { for: input.id }, t("transcribe.choose")), input, h("p", { class: "muted small" }, t("transcribe.drop")));
  const all = h("button", { type: "button", id: "save-all", onclick: () => download(t("transcribe.all.name"), together(texts()), "text/plain") }, t("transcribe.all"));
  let rows = []; // as in the list: the newest batch first, and the files of a batch in the order in which they came
  let queue = Promise.resolve();
  input.addEventListener("change", () => { add(input.files); input.value = ""; });
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, () => drop.classList.add("over"));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));

  function add(files) {
    const batch = [...files].map(started);
    rows = [...batch, ...rows];
    list.prepend(...batch.map((row) => row.element));
    showPlaces();
  }

  /** The row of a file that is transcribed when those before it are. */
  function started(file) {
    const row = fileRow({ name: file.name, segments: [], end: null }, { owner, file, keep, again, clear });
    unfinished++;
    waiting.push(row);
    queue = queue.then(() => {
      waiting.splice(waiting.indexOf(row), 1);
      showPlaces();
      return row.run();
    }).finally(() => { unfinished--; });
    return row;
  }

  /** Says in each row that waits how many come before it: the one that is read now, and those that wait too. */
  function showPlaces() {
    waiting.filter((row) => !row.transcript.end).forEach((row, i) => row.showPlace(i + 1));
  }

  /** Stores what has ended, in the order of the list. */
  function keep() {
    kept.files = rows.map((row) => row.transcript).filter((one) => one.end);
    kept.save();
    all.hidden = texts().length < 2;
    showPlaces();
  }

  const texts = () => rows.map((row) => row.transcript).filter((one) => one.end?.files?.txt);

  function again(row, file) {
    const next = started(file);
    rows = rows.map((one) => (one === row ? next : one));
    row.element.replaceWith(next.element);
    keep();
    focus(next.element.querySelector("button"));
  }

  function clear(row) {
    rows = rows.filter((one) => one !== row);
    row.element.remove();
    keep();
    focus(input);
  }

  rows = kept.files.map((transcript) => fileRow(transcript, { clear }));
  list.append(...rows.map((row) => row.element));
  all.hidden = texts().length < 2;
  return { onDrop: (event) => add(event.dataTransfer.files),
    element: h("section", { class: "card stack", "aria-labelledby": "files" }, h("h2", { id: "files" }, t("transcribe.files")), drop, list, h("div", { class: "row" }, all)) };
}

/** The texts of files in one, each under its name. */
const together = (transcripts) => transcripts.map((one) => `${one.name}\n\n${one.end.files.txt.trim()}\n`).join("\n\n");

/**
 * The row of a file: {element, transcript, run, showPlace}.
 * @param {{name: string, segments: Array, end: ?object}} transcript as in Transcribed; without an end, `run` transcribes `file`.
 */
function fileRow(transcript, { owner, file, keep, again, clear }) {
  const { name } = transcript;
  const abort = new AbortController();
  const state = h("span", { class: "tag" });
  const status = h("p", { role: "status", class: "muted" }, t("transcribe.waiting"));
  const bar = h("progress", { "aria-label": t("transcribe.progress", { name }), hidden: true });
  const text = h("div", { class: "text-box", tabindex: "0", role: "region", "aria-label": t("transcribe.text", { name }), hidden: true });
  const notes = h("div", { class: "stack" });
  const actions = h("div", { class: "row" }, named("transcribe.stop", stop));
  const element = h("li", {}, h("div", { class: "grow stack" }, h("div", { class: "row between" }, h("h3", {}, name), state), status, bar, text, notes, actions));
  const row = { element, transcript, run, showPlace };
  transcript.segments.forEach(write);
  showState("waiting");
  if (transcript.end) drawEnd();

  /** The state in a word, beside the name. */
  function showState(name) {
    state.textContent = t(`transcribe.state.${name}`);
    state.className = `tag ${{ done: "good", failed: "bad" }[name] ?? ""}`.trim();
  }

  function showPlace(n) {
    status.textContent = t("transcribe.place", { n });
  }

  function stop() {
    abort.abort();
    if (bar.hidden) finish({ reason: "stopped" }); // while it waits
  }

  function finish(end) {
    transcript.end = end;
    delete end.files?.json; // the page does not offer it
    keep();
    drawEnd();
    announce(`${name}: ${status.textContent}`);
  }

  function named(key, onclick) {
    return h("button", { type: "button", onclick }, t(key), h("span", { class: "hidden" }, ` ${name}`));
  }

  async function run() {
    if (transcript.end) return; // stopped while it waited
    status.textContent = t("transcribe.reading");
    showState("running");
    bar.hidden = false;
    const form = new FormData();
    form.append("file", file);
    let end = { reason: "offline" };
    try {
      const response = await send("POST", "/transcribe", { body: form, signal: abort.signal, as: owner });
      for await (const event of lines(response.body)) {
        if (event.segment) onSegment(event.segment);
        else end = event;
      }
    } catch (error) {
      if (error.name === "AbortError") end = { reason: "stopped" };
      else if (error instanceof ApiError && error.status) end = { error: error.message };
      else end = { reason: "offline" };
    }
    finish(end);
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
    const { files, seconds, warning, damage, error, reason } = transcript.end;
    bar.remove();
    showState(files ? "done" : reason === "stopped" ? "stopped" : "failed");
    if (files) status.textContent = files.txt ? t("transcribe.done", { time: spoken(seconds) }) : t("transcribe.empty");
    else status.textContent = reason === "offline" ? t("offline.service") : t(`transcribe.end.${reason ?? "failed"}`);
    if (!files && reason !== "stopped") status.className = "notice bad";
    const hasUnsure = transcript.segments.some((segment) => segment.some((word) => !word.is_sure));
    const technical = warning || error;
    fill(notes, hasUnsure ? h("p", { class: "muted small" }, t("correct.unsure")) : null,
      warning ? h("p", { class: "notice bad" }, damageText(damage)) : null,
      technical ? details(t("details"), h("p", { class: "small muted" }, technical)) : null);
    const copy = copying(() => files?.txt ?? spokenWords(), text, name);
    fill(actions, transcript.segments.length ? copy.button : null, files?.txt ? Object.entries(TYPES).map(([suffix, type]) => save(suffix, type)) : null,
      !files && file && !FINAL.has(reason) ? named("again", () => again(row, file)) : null,
      named("clear", () => clear(row)), copy.message);
  }

  function save(suffix, type) {
    const stem = name.replace(/\.[^.]*$/, "");
    const button = named(`transcribe.${suffix}`, () => download(`${stem}.${suffix}`, transcript.end.files[suffix], type));
    button.dataset.format = suffix;
    return button;
  }

  const spokenWords = () => transcript.segments.map((segment) => segment.map((word) => word.text).join(" ")).join("\n");

  return row;
}

/** What is said about a damaged file: where the damage begins, or how much could be read, as far as that is known. */
function damageText(damage) {
  if (damage?.at_s !== undefined) return t("transcribe.damaged.at", { time: exactly(damage.at_s) });
  if (damage?.total_s !== undefined) return t("transcribe.damaged.of", { read: exactly(damage.read_s), total: exactly(damage.total_s) });
  return t("transcribe.damaged");
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
