// Waveforms: wavesurfer.js, with a button to play that works by keyboard.

import WaveSurfer from "/page/static/vendored/wavesurfer.js/wavesurfer.esm.js";
import RecordPlugin from "/page/static/vendored/wavesurfer.js/record.esm.js";
import { colour, onSchemeChange } from "./colours.js";
import { fill, h, icon } from "./dom.js";
import { t } from "./strings.js";

const nonce = document.querySelector('meta[name="csp-nonce"]').content;

/** A waveform; `wave` is the name of its colour. Its colours follow those of the device until it is destroyed. */
function made(container, wave, options = {}) {
  const colours = () => ({ waveColor: colour(wave), progressColor: colour("--accent"), cursorColor: colour("--text") });
  const surfer = WaveSurfer.create({
    container, height: 62, cspNonce: nonce, hideScrollbar: true, normalize: true, ...colours(), ...options,
  });
  surfer.on("destroy", onSchemeChange(() => surfer.setOptions(colours())));
  return surfer;
}

/** A player: the waveform of a recording, and a button. `toggle` plays or pauses. */
export function player(blob, label = t("play")) {
  const box = h("div", { class: "wave", "aria-hidden": "true" });
  const text = h("span", {}, label);
  const button = h("button", { type: "button", onclick: () => surfer?.playPause() }, icon("play"), text);
  let surfer;
  // After the box is on the page, so that it has a width.
  requestAnimationFrame(() => {
    if (!box.isConnected) return;
    surfer = made(box, "--wave");
    surfer.on("play", () => { text.textContent = t("pause"); fill(button, icon("pause"), text); });
    surfer.on("pause", () => { text.textContent = label; fill(button, icon("play"), text); });
    surfer.on("finish", () => surfer.setTime(0));
    surfer.loadBlob(blob).catch(() => {}); // left before it was loaded
  });
  return { box, button, toggle: () => surfer?.playPause(), destroy: () => surfer?.destroy() };
}

/** Buttons that each play or pause a sound, without a waveform; one sound at a time. `load` resolves with the sound. */
export function oneAtATime() {
  let stop = () => {};

  function button(load, name) {
    const text = h("span", {}, t("play"));
    const hidden = h("span", { class: "hidden" }, ` ${name}`);
    const element = h("button", { type: "button" }, icon("play"), text, hidden);
    let audio = null;
    function draw(isPlaying) {
      text.textContent = t(isPlaying ? "pause" : "play");
      fill(element, icon(isPlaying ? "pause" : "play"), text, hidden);
    }
    function end() {
      audio?.pause();
      if (audio) URL.revokeObjectURL(audio.src);
      audio = null;
      draw(false);
    }
    element.addEventListener("click", async () => {
      if (audio) return end();
      stop();
      stop = end;
      const mine = audio = new Audio();
      draw(true);
      try {
        const blob = await load();
        if (audio !== mine) return; // stopped, or another is played
        mine.addEventListener("ended", end);
        mine.src = URL.createObjectURL(blob);
        await mine.play();
      } catch (error) {
        if (audio !== mine) return; // a sound that is stopped before it plays fails
        end();
        throw error;
      }
    });
    return element;
  }

  return { button, stop: () => stop() };
}

/** Draws the microphone into a box while it is open; returns a function that stops. */
export function live(box, stream) {
  const surfer = made(box, "--accent", { normalize: false, interact: false, cursorWidth: 0 });
  const record = surfer.registerPlugin(RecordPlugin.create({ scrollingWaveform: true, scrollingWaveformWindow: 6 }));
  const { onDestroy } = record.renderMicStream(stream);
  return () => { onDestroy(); surfer.destroy(); };
}
