// Live texts for 16-bit mono audio, in a browser or Node 22: await live(pcm, 16000, show)
// pcm: an Int16Array. show(text, isFinal) is called while the audio is recognised. Returns the whole text.
function live(pcm, sampleRate, show, address = "ws://127.0.0.1:8765/v1/audio/live") {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${address}?sample_rate=${sampleRate}`);
    socket.onopen = () => {
      for (let start = 0; start < pcm.length; start += 1600) {
        socket.send(pcm.slice(start, start + 1600));
      }
      socket.send(JSON.stringify({ type: "finish" }));
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "partial" || message.type === "final") {
        show(message.text, message.type === "final");
      } else if (message.type === "done") {
        resolve(message.text);
      } else if (message.type === "error") {
        reject(new Error(message.error.message));
      }
    };
    socket.onerror = () => reject(new Error("the service cannot be reached"));
    socket.onclose = () => reject(new Error("the connection was closed"));
  });
}
