// The microphone as blocks of samples. MediaRecorder would compress them, which hides clipping and costs words.

// Recordings are to sound as they do in other programs, so the browser's own changes are off.
import { unreachable } from "./api.js";

const CONSTRAINTS = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export class Microphone {
  /** Opens the microphone, after the person has allowed it. `onBlock` gets each block, a Float32Array. */
  static async open(onBlock) {
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "NotSupportedError");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS });
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule("/page/static/js/recorder-worklet.js");
    } catch { // it is loaded each time, so the program may have ended since the page was
      new Microphone(stream, context).close();
      throw unreachable();
    }
    await context.resume();
    const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 1, channelCount: 1, channelCountMode: "explicit" });
    context.createMediaStreamSource(stream).connect(node);
    node.connect(context.destination); // silence; some browsers run only what is connected
    node.port.onmessage = (event) => onBlock(event.data);
    return new Microphone(stream, context);
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
    this.rate = context.sampleRate;
  }

  /** Closes the microphone. */
  close() {
    this.stream.getTracks().forEach((track) => track.stop());
    this.context.close();
  }
}

/** The loudness of a block, in dB relative to full scale. */
export function decibels(block) {
  let sum = 0;
  for (const sample of block) sum += sample * sample;
  return 10 * Math.log10(Math.max(1e-10, sum / block.length));
}

/** Which text says why the microphone cannot be used. */
export function problemOf(error) {
  if (error.status === 0) return "offline.service";
  if (error.name === "NotAllowedError") return "microphone.denied";
  if (error.name === "NotFoundError") return "microphone.missing";
  if (error.name === "NotSupportedError") return "microphone.insecure";
  return "microphone.failed";
}
