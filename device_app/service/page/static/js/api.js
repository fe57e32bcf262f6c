// Requests to the service. Each has a header that pages of other sites cannot send.

import { t } from "./strings.js";

const API = "/page/api";
const MODEL = "asr-edge.model";

/** The service refused a request, or did not answer (status 0). */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the same request may succeed later. */
  get isTemporary() {
    return this.status === 0 || this.status === 401 || this.status === 403 || this.status === 408 ||
      this.status === 429 || this.status >= 500;
  }
}

/** The error of a program that does not answer. */
export const unreachable = () => new ApiError(0, t("offline.service"));

/** The name of the model whose owner uses the page: "asr-edge", or "asr-edge:NAME" for a profile. */
export const model = () => localStorage.getItem(MODEL) ?? "asr-edge";
export const chooseModel = (name) => localStorage.setItem(MODEL, name);

/** Sends a request; returns the response. `as` is the name of another model. */
export async function send(method, path, { json, body, type, as, signal } = {}) {
  const headers = { "X-Asr-Edge-Model": encodeURIComponent(as ?? model()) };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(API + path, {
      method, headers, signal, cache: "no-store", body: json === undefined ? body : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (response.ok) return response;
  if (response.status === 401) window.dispatchEvent(new Event("asr-edge:sign-in"));
  const refused = await response.json().catch(() => ({}));
  throw new ApiError(response.status, refused.error?.message ?? response.statusText);
}

const parsed = async (response) => (response.status === 204 ? null : (await response).json());

export const get = async (path, options) => parsed(await send("GET", path, options));
export const post = async (path, json = {}, options = {}) => parsed(await send("POST", path, { json, ...options }));
export const put = async (path, json, options = {}) => parsed(await send("PUT", path, { json, ...options }));
export const remove = async (path) => parsed(await send("DELETE", path));

/** The sound of a saved recording. */
export const sound = async (number) => (await send("GET", `/utterances/${number}/audio`)).blob();

/** The names of all models. */
export async function models() {
  const response = await fetch("/v1/models", { cache: "no-store" });
  if (response.status === 401) window.dispatchEvent(new Event("asr-edge:sign-in"));
  return response.ok ? (await response.json()).data.map((one) => one.id) : [];
}

/** Whether the program answers. */
export const isReachable = () => fetch("/health", { cache: "no-store" }).then(() => true, () => false);
