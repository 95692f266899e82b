// All that the page asks of the server. Errors come back as sentences and are shown as they are.

import type {
  ChatAsk,
  CompareAsk,
  Event,
  FeatureList,
  FeaturePage,
  Kept,
  SubjectInfo,
  Upload,
} from "./types";

export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

async function asked(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is semascope serve still running?", 0);
  }
  if (response.ok) return response;
  const said = (await response.json().catch(() => null)) as {
    error?: { message?: string };
  } | null;
  throw new Problem(
    said?.error?.message ?? `The server answered ${response.status}.`,
    response.status,
  );
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await asked(path, init)).json()) as T;
}

export type Params = Record<string, string | number | boolean | undefined>;

export function query(params: Params): string {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(params))
    if (value !== undefined && value !== "") out.set(key, String(value));
  return out.toString();
}

export const getInfo = () => json<SubjectInfo>("/api/info");
export const getFeatures = (params: Params, signal?: AbortSignal) =>
  json<FeatureList>(`/api/features?${query(params)}`, { signal });
export const getSearch = (params: Params, signal?: AbortSignal) =>
  json<FeatureList>(`/api/search?${query(params)}`, { signal });
export const getFeature = (id: string, signal?: AbortSignal) =>
  json<FeaturePage>(`/api/features/${id.split("/").map(encodeURIComponent).join("/")}`, {
    signal,
  });
export const mediaUrl = (hash: string) => `/media/${encodeURIComponent(hash)}`;

export function sendPicture(file: Blob): Promise<Upload> {
  const body = new FormData();
  body.set("file", file, "picture");
  return json<Upload>("/api/pictures", { method: "POST", body });
}

/** Post a question and hear its events one by one until the last. */
export async function* stream(
  path: string,
  ask: unknown,
  signal: AbortSignal,
): AsyncGenerator<Event> {
  const response = await asked(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(ask),
    signal,
  });
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop() ?? "";
    for (const part of parts)
      if (part.startsWith("data: ")) yield JSON.parse(part.slice(6)) as Event;
  }
}

export const chat = (ask: ChatAsk, signal: AbortSignal) => stream("/api/chat", ask, signal);
export const why = (ask: ChatAsk & { answer: number[]; limit: number }, signal: AbortSignal) =>
  stream("/api/why", ask, signal);

export const listKept = () => json<Kept[]>("/api/sessions");
export const readKept = (id: string) =>
  json<Kept & { body: unknown; own: boolean }>(`/api/sessions/${encodeURIComponent(id)}`);
export const keep = (id: string, title: string, body: unknown) =>
  json<Kept>(id ? `/api/sessions/${encodeURIComponent(id)}` : "/api/sessions", {
    method: id ? "PUT" : "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ title, body }),
  });
export const forget = (id: string) =>
  asked(`/api/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });

export const compare = (ask: CompareAsk, signal: AbortSignal) =>
  stream("/api/compare", ask, signal);
