// Record: one sentence at a time.

import { post, remove, send, sound } from "../api.js";
import { announce, field, fill, focus, h } from "../dom.js";
import { decibels, Microphone, problemOf } from "../microphone.js";
import { append, discard, hold, keep, leftOver, newTake, refused, release, soundOf } from "../outbox.js";
import { details, facts } from "../scores.js";
import { spoken, t, when } from "../strings.js";
import { asSixteenBit, wav } from "../wav.js";
import { live, oneAtATime, player } from "../waveform.js";
import { words } from "../words.js";

const DOMAIN = "asr-edge.domain";
const PREROLL = 6; // blocks that are kept from before the button was pressed
const IDLE_MS = 15_000; // for the same blocks, the microphone stays open so long after a take
const BLOCKS_A_WRITE = 6; // half a second at 48 kHz
const [QUIET_DB, LOUD_DB] = [-45, -8];

/** A level as a text; of silence there is none. */
const decibelsOf = (value, unit) => (value === null ? "" : `${value.toFixed(0)} ${unit}`);

export async function show(box) {
  const skipped = new Set();
  let isFree = false;
  let domain = localStorage.getItem(DOMAIN) ?? "my-speech";
  let microphone = null;
  let closing = 0; // the timer that closes the microphone
  let recorder = null; // of the take that is being recorded
  let stopDrawing = () => {};
  let preroll = [];
  let heldPlayer = null;
  let undecided = null; // the take that is shown, until it is kept or thrown away
  let isBusy = false; // with a take, from the start of its recording until it is kept or thrown away

  const stage = h("section", { class: "card", "aria-labelledby": "sentence" });
  const progress = h("div", { class: "stack" });
  const recent = h("section", { class: "card" });
  const notices = h("div");
  const intro = h("p", { class: "intro" }, t("record.intro"));
  const modes = choices();
  const sounds = oneAtATime();
  fill(box, h("h1", {}, t("record.title")), intro, notices, stage, progress, recent, modes.element);

  /** Shows the next sentence. `said` is what the last request did, which is shown with it. */
  async function next(moveFocus = false, said = "") {
    const found = await load();
    if (undecided) return; // another take is shown now
    const notice = said ? h("p", { class: "notice good" }, said) : null;
    setBusy(false);
    if (found.is_over) showOver(notice);
    else showReady(found, moveFocus, notice);
  }

  /** Asks for the next sentence and shows how much there is. */
  async function load() {
    const found = await post("/recording", { domain, free: isFree, skipped: [...skipped] });
    showProgress(found);
    showRecent(found.recent);
    return found;
  }

  /** While a take is on the page, nothing else may take its place. */
  function setBusy(busy) {
    isBusy = busy;
    modes.setDisabled(busy);
  }

  function showProgress(found) {
    const text = found.is_learning ? t("record.learning") : found.labelled < found.fewest ? t("record.until", { n: found.fewest - found.labelled })
      : found.labelled < found.enough ? t("record.better", { n: found.enough }) : t("record.enough");
    fill(progress, h("div", { class: "card" },
      h("p", {}, t("record.count", { n: found.done }),
        found.seconds ? [" ", t("record.time", { time: spoken(found.seconds) })] : null),
      h("progress", { max: found.enough, value: Math.min(found.labelled, found.enough), "aria-label": t("record.progress") }),
      h("p", { class: "muted" }, text, " ", found.is_learning || found.labelled >= found.fewest ? h("a", { href: "#learn" }, t("record.learn")) : null)));
  }

  function showOver(notice) {
    fill(stage, notice, h("p", { class: "sentence", id: "sentence" }, t(skipped.size ? "record.over.skipped" : "record.over")),
      skipped.size ? h("button", { type: "button", class: "primary", onclick: () => { skipped.clear(); next(true); } }, t("record.skipped.again")) : null);
  }

  function showReady(found, moveFocus, notice) {
    heldPlayer?.destroy();
    heldPlayer = null;
    const { prompt } = found;
    const start = h("button", { type: "button", class: "primary large", id: "start" }, h("span", { "aria-hidden": "true" }, "●"), t("record.start"));
    const other = prompt === null ? null
      : h("button", { type: "button", onclick: () => { skipped.add(prompt); next(true); } }, t("record.skip"));
    start.addEventListener("click", () => begin(prompt, found.longest_s));
    fill(stage, notice, h("h2", { class: "sentence", id: "sentence" }, prompt ?? t("record.free")),
      h("div", { class: "row actions" }, start, other));
    if (moveFocus) focus(start);
    if (moveFocus && prompt) announce(prompt);
  }

  async function begin(prompt, longest) {
    setBusy(true);
    sounds.stop();
    const status = h("p", { role: "status" }, t("record.starting"));
    const wave = h("div", { class: "wave", "aria-hidden": "true" });
    const meter = h("meter", { min: -70, max: 0, low: QUIET_DB, high: LOUD_DB, optimum: -25, value: -70, "aria-label": t("record.level") });
    const say = h("output", {}, "\u00a0");
    const stop = h("button", { type: "button", class: "recording large", id: "stop" }, h("span", { "aria-hidden": "true" }, "■"), t("record.stop"));
    const cancel = h("button", { type: "button" }, t("record.cancel"));
    fill(stage, h("h2", { class: "sentence", id: "sentence" }, prompt ?? t("record.free")), status, wave,
      h("div", { class: "level" }, h("span", {}, t("record.level")), meter, say), h("div", { class: "row actions" }, stop, cancel));
    stop.disabled = true;
    clearTimeout(closing);
    try {
      microphone ??= await Microphone.open(onBlock);
    } catch (error) {
      setBusy(false);
      fill(stage, h("h2", { class: "sentence", id: "sentence" }, prompt ?? t("record.free")), h("div", { class: "notice bad", role: "alert" }, h("p", {}, t(problemOf(error)))),
        h("button", { type: "button", class: "primary", onclick: () => begin(prompt, longest) }, t("again")));
      return;
    }
    if (!box.isConnected) return;
    const take = await newTake({ domain, prompt, rate: microphone.rate });
    recorder = { take, blocks: [], unwritten: [], writes: Promise.resolve(), place: 0, samples: 0, meter, say, loudest: -100,
      isFull: () => recorder.samples / microphone.rate >= longest, onFull: () => { announce(t("record.full")); finish(prompt, true); } };
    preroll.forEach(add);
    preroll = [];
    stopDrawing = live(wave, microphone.stream);
    status.textContent = t("record.speak");
    stop.disabled = false;
    focus(stop);
    stop.addEventListener("click", () => finish(prompt));
    cancel.addEventListener("click", async () => {
      const { id } = recorder.take;
      const { writes } = recorder;
      end();
      await writes;
      await discard(id);
      next(true);
    });
  }

  function onBlock(block) {
    if (!recorder) {
      preroll.push(block);
      if (preroll.length > PREROLL) preroll.shift();
      return;
    }
    const level = decibels(block);
    recorder.meter.value = level;
    recorder.loudest = Math.max(level, recorder.loudest - 1.5);
    const text = recorder.loudest > LOUD_DB ? t("record.loud") : recorder.loudest > QUIET_DB ? t("record.good") : t("record.quiet");
    if (recorder.say.textContent !== text) recorder.say.textContent = text;
    add(block);
    if (recorder.isFull()) recorder.onFull();
  }

  function add(block) {
    const samples = asSixteenBit(block);
    recorder.blocks.push(samples);
    recorder.unwritten.push(samples);
    recorder.samples += samples.length;
    if (recorder.unwritten.length >= BLOCKS_A_WRITE) write(recorder);
  }

  function write(at) {
    const joined = new Int16Array(at.unwritten.reduce((sum, one) => sum + one.length, 0));
    let filled = 0;
    for (const one of at.unwritten) { joined.set(one, filled); filled += one.length; }
    at.unwritten = [];
    const place = at.place++;
    at.writes = at.writes.then(() => append(at.take.id, place, joined));
  }

  function end() {
    const ended = recorder;
    recorder = null;
    stopDrawing();
    stopDrawing = () => {};
    clearTimeout(closing);
    closing = setTimeout(closeMicrophone, IDLE_MS);
    return ended;
  }

  function closeMicrophone() {
    clearTimeout(closing);
    microphone?.close();
    microphone = null;
    preroll = [];
  }

  async function finish(prompt, isFull = false) {
    if (!recorder) return;
    const ended = end();
    if (ended.unwritten.length) write(ended);
    showChecking(prompt);
    await ended.writes;
    await review(ended.take, wav(ended.blocks, ended.take.rate), isFull);
  }

  function showChecking(prompt) {
    fill(stage, h("h2", { class: "sentence", id: "sentence" }, prompt ?? t("record.free")), h("p", { role: "status" }, t("record.checking")),
      h("progress", { "aria-label": t("record.checking") }));
  }

  /** Shows a take, or that this failed: never only the progress bar. */
  async function review(take, blob, isFull = false) {
    undecided = take.id;
    setBusy(true);
    showChecking(take.prompt);
    try {
      await showReview(take, blob, isFull);
    } catch (error) {
      if (undecided !== take.id) return;
      fill(stage, h("div", { class: "notice bad", role: "alert" }, h("p", {}, t("failed")), h("p", { class: "small" }, error.message)),
        h("button", { type: "button", class: "primary", onclick: () => review(take, blob, isFull) }, t("again")));
    }
  }

  async function showReview(take, blob, isFull) {
    let found = null;
    let failure = "";
    try {
      const query = take.prompt ? `?${new URLSearchParams({ prompt: take.prompt })}` : "";
      found = await (await send("POST", `/takes/check${query}`, { body: blob, type: "audio/wav", as: take.model })).json();
    } catch (error) {
      failure = error.isTemporary ? t("record.unchecked") : t("record.unusable");
      if (!error.isTemporary) {
        undecided = null;
        setBusy(false);
        await discard(take.id);
        fill(stage, h("div", { class: "notice bad", role: "alert" }, h("p", {}, failure), h("p", { class: "small" }, error.message)),
          h("button", { type: "button", class: "primary", onclick: () => next(true) }, t("record.again")));
        return;
      }
    }
    if (!box.isConnected) return putBack(); // the person has gone to another view
    if (undecided !== take.id) return; // or looks at another take
    heldPlayer?.destroy();
    heldPlayer = player(blob, t("record.listen"));
    const isGood = found && !found.problems.length;
    const isToKeep = isGood || !found; // one that could not be checked too
    const text = take.prompt ? null : h("textarea", { maxlength: 1000, spellcheck: "true", value: found?.hypothesis ?? "" });
    const keepButton = h("button", { type: "button", id: "keep", class: isToKeep ? "primary" : null },
      isToKeep ? t("record.keep") : t("record.keep.anyway"));
    const again = h("button", { type: "button", id: "again", class: isToKeep ? null : "primary" }, t("record.again"));
    const drop = h("button", { type: "button", class: "danger", id: "drop" }, t("left.drop"));
    const status = isGood ? t(take.prompt ? "record.sounds.good" : "record.sounds.free") : found ? t("record.problems") : failure;
    fill(stage, h("h2", { class: "sentence", id: "sentence" }, take.prompt ?? t(found?.hypothesis ? "record.free.check" : "record.free")),
      heldPlayer.box,
      isFull ? h("p", { class: "muted" }, t("record.full")) : null,
      h("div", { class: `notice ${isGood ? "good" : "bad"}`, role: "status" }, h("p", {}, status),
        found?.problems.length ? h("ul", {}, found.problems.map((problem) => h("li", {}, t(`problem.${problem}`)))) : null),
      found && take.prompt ? h("p", { class: "words" }, h("span", { class: "muted" }, t("recognised"), " "), words(found.words)) : null,
      found && take.prompt && found.words.some((word) => !word.is_sure) ? h("p", { class: "muted small" }, t("correct.unsure")) : null,
      text ? field(t("record.said"), text) : null,
      h("div", { class: "row actions" }, isToKeep ? [keepButton, again] : [again, keepButton], drop, heldPlayer.button),
      found ? details(t("details"), facts([
        [t("details.domain"), take.domain], [t("details.snr"), decibelsOf(found.quality.snr_db, "dB")],
        [t("details.level"), decibelsOf(found.quality.level_dbfs, "dBFS")], [t("details.rate"), `${take.rate} Hz`]])) : null);
    focus(isToKeep ? keepButton : again);
    keepButton.addEventListener("click", async () => {
      keepButton.disabled = again.disabled = true;
      undecided = null;
      keepButton.textContent = t("saving");
      const said = take.prompt ?? text.value.trim();
      if (take.prompt) skipped.add(take.prompt); // until the service has it
      const answers = await keep(take, said || null);
      const isRefused = answers.some((answer) => answer.refused);
      const did = isRefused || !answers.length ? "" : t("saved");
      if (isRefused) await showNotices();
      else if (did) announce(did);
      if (take.prompt && answers.length) skipped.delete(take.prompt);
      next(true, did).catch(() => showUnreachable());
    });
    again.addEventListener("click", async () => { keepButton.disabled = again.disabled = true; await forget(take); await next(); document.getElementById("start")?.click(); });
    drop.addEventListener("click", async () => { if (!confirm(t("delete.ask"))) return; await forget(take); await next(true); });
  }

  async function forget(take) {
    undecided = null;
    await discard(take.id);
  }

  /** Puts the take that is shown back among those that are left over. */
  function putBack() {
    if (undecided) release(undecided);
    undecided = null;
  }

  function showUnreachable() {
    setBusy(false);
    fill(stage, h("div", { class: "notice", role: "status" }, h("p", {}, t("record.safe"))),
      h("button", { type: "button", class: "primary", onclick: () => next(true).catch(showUnreachable) }, t("again")));
  }

  function showRecent(utterances) {
    sounds.stop(); // its button goes
    recent.hidden = !utterances.length;
    fill(recent, h("h2", {}, t("record.recent")), h("ul", { class: "list" }, utterances.map((one) => {
      const name = one.text ?? one.hypothesis ?? t("nothing");
      const play = sounds.button(() => sound(one.id), name);
      const drop = h("button", { type: "button", class: "danger", onclick: async () => {
        if (!confirm(t("delete.ask"))) return;
        await remove(`/utterances/${one.id}`);
        announce(t("deleted"));
        if (isBusy) load();
        else next(true, t("deleted"));
      } }, t("delete"), h("span", { class: "hidden" }, ` ${name}`));
      return h("li", {}, h("span", { class: "grow" }, name), h("div", { class: "row" }, play, drop));
    })));
  }

  async function showNotices() {
    const found = await leftOver();
    const bad = await refused();
    fill(notices, found.map((take) => {
      const play = sounds.button(() => soundOf(take), when(take.created));
      const notice = h("section", { class: "notice", "aria-label": t("left.title") },
        h("p", {}, h("strong", {}, t("left.title")), " ", take.prompt ?? t("record.free")), h("p", { class: "muted small" }, when(take.created)),
        h("div", { class: "row" },
          h("button", { type: "button", class: "primary", onclick: async () => {
            if (recorder || undecided === take.id) return; // one at a time
            putBack();
            undecided = take.id;
            setBusy(true);
            showChecking(take.prompt); // the buttons of the take before go at once
            await hold(take.id);
            await showNotices();
            await review(take, await soundOf(take));
          } }, t("left.look")), play,
          h("button", { type: "button", class: "danger", onclick: async () => { if (!confirm(t("delete.ask"))) return; await discard(take.id); notice.remove(); } }, t("left.drop"))));
      return notice;
    }), bad.map((take) => {
      const notice = h("section", { class: "notice bad", "aria-label": t("refused.title") }, h("p", {}, h("strong", {}, t("refused.title")), " ", take.prompt ?? ""),
        h("p", { class: "small" }, take.reason),
        h("button", { type: "button", class: "danger", onclick: async () => { await discard(take.id); notice.remove(); } }, t("left.drop")));
      return notice;
    }));
  }

  function choices() {
    const name = (value, text) => h("label", { class: "choice" }, h("input", { type: "radio", name: "mode", value, checked: (value === "free") === isFree,
      onchange: () => { isFree = value === "free"; intro.textContent = t(isFree ? "record.intro.free" : "record.intro"); next().then(() => stage.scrollIntoView({ block: "nearest" })); } }), text);
    const input = h("input", { type: "text", maxlength: 100, value: domain, autocomplete: "off", onchange: () => {
      domain = input.value.trim() || "my-speech";
      input.value = domain;
      localStorage.setItem(DOMAIN, domain);
      next().catch((error) => { input.setCustomValidity(error.message); input.reportValidity(); input.setCustomValidity(""); });
    } });
    const later = h("p", { class: "muted small", hidden: true }, t("record.mode.later"));
    const modes = h("fieldset", {}, h("legend", {}, t("record.mode")), name("read", t("record.mode.read")), name("free", t("record.mode.free")), later);
    const element = h("section", { class: "card" }, modes,
      details(t("details"), field(t("details.domain"), input), h("p", { class: "muted small" }, t("details.domain.help"))));
    const setDisabled = (isDisabled) => {
      modes.disabled = input.disabled = isDisabled;
      later.hidden = !isDisabled;
    };
    return { element, setDisabled };
  }

  const onHide = () => { if (recorder?.unwritten.length) write(recorder); };
  window.addEventListener("pagehide", onHide);
  await Promise.all([next(), showNotices()]);
  return () => {
    window.removeEventListener("pagehide", onHide);
    if (recorder?.unwritten.length) write(recorder);
    const { take, writes } = end() ?? {};
    writes?.then(() => release(take.id));
    putBack();
    heldPlayer?.destroy();
    sounds.stop();
    closeMicrophone();
  };
}
