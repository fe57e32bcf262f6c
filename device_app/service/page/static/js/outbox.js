// Takes and corrections stay in the browser's database until the service has confirmed that it has stored them.
// A take is written while it is recorded, so it survives the end of the tab, the browser, or the machine.

import { model, put, send } from "./api.js";
import { wav } from "./wav.js";

const DURABLE = { durability: "strict" }; // an ended transaction is on the disk
const LONGEST_WAIT_MS = 30_000;
const SHORTEST_S = 0.5; // of a left-over take that is worth a question

let database;
let wait = 0;
let timer = 0;
const held = new Map(); // the locks of this tab's takes, by id; functions that release them

function opened() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("asr-edge", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("takes", { keyPath: "id" });
      request.result.createObjectStore("blocks", { keyPath: ["take", "place"] });
      request.result.createObjectStore("corrections", { keyPath: ["model", "number"] });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return database;
}

/** Runs a transaction; resolves when it is on the disk, with what `work` returned or the result of its request. */
async function transaction(stores, mode, work) {
  const running = (await opened()).transaction(stores, mode, DURABLE);
  const result = work(running);
  await new Promise((resolve, reject) => {
    running.oncomplete = resolve;
    running.onerror = running.onabort = () => reject(running.error);
  });
  return result instanceof IDBRequest ? result.result : result;
}

const ofTake = (id) => IDBKeyRange.bound([id, 0], [id, Infinity]);
const changed = () => window.dispatchEvent(new Event("asr-edge:outbox"));

/** Starts a take. Another tab sees by the lock that it is not left over. */
export async function newTake({ domain, prompt, rate }) {
  const take = { id: crypto.randomUUID(), model: model(), domain, prompt, rate, created: new Date().toISOString(), state: "open" };
  await hold(take.id);
  await transaction(["takes"], "readwrite", (at) => at.objectStore("takes").put(take));
  return take;
}

/** Takes the lock of a take, so that no other tab offers it as left over; waits while another tab has it. */
export function hold(id) {
  return new Promise((resolve) => {
    navigator.locks.request(`take-${id}`, () => {
      resolve();
      return new Promise((release) => held.set(id, release));
    });
  });
}

/** Gives the lock of a take back: it is left over, until somebody decides about it. */
export function release(id) {
  held.get(id)?.();
  held.delete(id);
}

/** Adds a block of 16-bit samples to a take. */
export const append = (id, place, samples) =>
  transaction(["blocks"], "readwrite", (at) => at.objectStore("blocks").put({ take: id, place, samples }));

/** The sound of a take. */
export async function soundOf(take) {
  const blocks = await transaction(["blocks"], "readonly", (at) => at.objectStore("blocks").getAll(ofTake(take.id)));
  return wav(blocks.map((block) => block.samples), take.rate);
}

/** The person keeps a take: from now on it is sent until the service has it. */
export async function keep(take, text) {
  await transaction(["takes"], "readwrite", (at) => at.objectStore("takes").put({ ...take, text, state: "kept" }));
  release(take.id);
  changed();
  return flush();
}

/** Removes a take: the person does not want it, or the service has it. */
export async function discard(id) {
  await transaction(["takes", "blocks"], "readwrite", (at) => {
    at.objectStore("takes").delete(id);
    at.objectStore("blocks").delete(ofTake(id));
  });
  release(id);
  changed();
}

const all = (store) => transaction([store], "readonly", (at) => at.objectStore(store).getAll());

/** Takes that were neither kept nor thrown away when their tab ended; without those that another tab has now. */
export async function leftOver() {
  const locks = new Set((await navigator.locks.query()).held.map((lock) => lock.name));
  const found = [];
  for (const take of await all("takes")) {
    if (take.state !== "open" || take.model !== model() || locks.has(`take-${take.id}`)) continue;
    if ((await soundOf(take)).size > 44 + 2 * SHORTEST_S * take.rate) found.push(take);
    else await discard(take.id); // ended before anything was said
  }
  return found;
}

/** Takes that the service refused, with the reason. */
export const refused = async () => (await all("takes")).filter((take) => take.state === "refused");

/** Stores a correction. */
export async function correct(number, text) {
  await transaction(["corrections"], "readwrite", (at) =>
    at.objectStore("corrections").put({ model: model(), number, text, state: "kept" }));
  changed();
  return flush();
}

/** How many takes and corrections the service has not confirmed. */
export async function waiting() {
  const [takes, corrections] = [await all("takes"), await all("corrections")];
  return [...takes, ...corrections].filter((one) => one.state === "kept").length;
}

/** Sends all that waits, oldest first; tries again later if the service does not answer. Returns what it answered. */
export async function flush() {
  return navigator.locks.request("asr-edge-outbox", async () => {
    clearTimeout(timer);
    const answers = [];
    const jobs = [
      ...(await all("takes")).sort((a, b) => a.created.localeCompare(b.created)).map((take) => [take, sendTake]),
      ...(await all("corrections")).map((one) => [one, sendCorrection]),
    ].filter(([one]) => one.state === "kept");
    for (const [one, sendOne] of jobs) {
      try {
        answers.push(await sendOne(one));
        wait = 0;
      } catch (error) {
        if (error.isTemporary) {
          wait = Math.min(LONGEST_WAIT_MS, 2 * wait || 1000);
          timer = setTimeout(flush, wait);
          break;
        }
        await refuse(one, error.message);
        answers.push({ refused: error.message });
      }
    }
    changed();
    return answers;
  });
}

async function sendTake(take) {
  const query = new URLSearchParams({ domain: take.domain });
  if (take.prompt) query.set("prompt", take.prompt);
  if (take.text) query.set("text", take.text);
  const response = await send("POST", `/takes?${query}`, { body: await soundOf(take), type: "audio/wav", as: take.model });
  const answer = await response.json();
  await discard(take.id); // only now: the service has it on its disk
  return answer;
}

async function sendCorrection({ model: as, number, text }) {
  const answer = await put(`/utterances/${number}`, { text }, { as });
  await transaction(["corrections"], "readwrite", (at) => {
    const store = at.objectStore("corrections");
    const newest = store.get([as, number]);
    newest.onsuccess = () => { if (newest.result?.text === text) store.delete([as, number]); };
  });
  return answer;
}

async function refuse(one, reason) {
  const store = "number" in one ? "corrections" : "takes";
  await transaction([store], "readwrite", (at) => {
    if (store === "corrections") at.objectStore(store).delete([one.model, one.number]); // its text is still on the page
    else at.objectStore(store).put({ ...one, state: "refused", reason });
  });
}

window.addEventListener("online", () => { wait = 0; flush(); });
