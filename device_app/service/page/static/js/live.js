// Live audio over the service's WebSocket: 16-bit PCM in, partial and final texts out.

import { isReachable, model, unreachable } from "./api.js";
import { Microphone } from "./microphone.js";
import { asSixteenBit } from "./wav.js";

export class Dictation {
  /** The callbacks get texts; `onEnd` gets the key of the text that says why it ended. */
  constructor({ onPartial, onFinal, onEnd }) {
    Object.assign(this, { onPartial, onFinal, onEnd, socket: null, microphone: null, early: [] });
  }

  /** Opens the microphone and the connection; resolves when the service is ready. */
  async start() {
    this.microphone = await Microphone.open((block) => this.#send(asSixteenBit(block)));
    const url = new URL("/v1/audio/live", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ model: model(), sample_rate: this.microphone.rate });
    this.socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      const refuse = async () => reject(await isReachable() ? Object.assign(new Error(), { name: "ServiceError" }) : unreachable());
      this.socket.onclose = this.socket.onerror = refuse;
      this.socket.onmessage = (event) => (JSON.parse(event.data).type === "ready" ? resolve() : refuse());
    });
    this.socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    this.socket.onerror = null;
    this.socket.onclose = () => this.#end("transcribe.live.ended");
    for (const samples of this.early.splice(0)) this.socket.send(samples);
  }

  #send(samples) {
    if (this.socket?.readyState === WebSocket.OPEN && !this.isStopping) this.socket.send(samples);
    else if (!this.isStopping) this.early.push(samples); // spoken before the service was ready
  }

  #receive(message) {
    if (message.type === "partial") this.onPartial(message.text);
    else if (message.type === "final") this.onFinal(message.text);
    else if (message.type === "done") this.#end("transcribe.live.ready");
  }

  #end(key) {
    this.microphone?.close();
    this.microphone = null;
    if (this.socket) this.socket.onclose = null;
    this.socket?.close();
    this.onEnd(key);
  }

  /** Ends: the last words still arrive before `onEnd` is called. */
  stop() {
    this.isStopping = true;
    this.microphone?.close();
    this.microphone = null;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "finish" }));
    else this.socket?.close();
  }
}
