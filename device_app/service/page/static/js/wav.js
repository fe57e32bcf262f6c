// 16-bit WAV files.

/** Floats from -1 to 1 as 16-bit samples. */
export function asSixteenBit(samples) {
  const found = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) found[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32767)));
  return found;
}

/** A WAV file of blocks of 16-bit samples, one channel. */
export function wav(blocks, rate) {
  const bytes = 2 * blocks.reduce((sum, block) => sum + block.length, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, value) => [...value].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, rate, true);
  header.setUint32(28, rate * 2, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header.buffer, ...blocks], { type: "audio/wav" });
}
