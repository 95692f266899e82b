// All that the page asks of the server. Errors come back as sentences and are shown as they are.

import type {
  Concept,
  ListLine,
  MapData,
  Note,
  RatingItem,
  RatingTold,
  Register,
  Tour,
  TourLine,
  WhyMore,
} from "./asktypes";
import type {
  ChatAsk,
  Event,
  FeatureList,
  FeaturePage,
  Kept,
  Splitting,
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
const idPath = (id: string) => id.split("/").map(encodeURIComponent).join("/");
export const getFeature = (id: string, signal?: AbortSignal) =>
  json<FeaturePage>(`/api/features/${idPath(id)}`, { signal });
export const getSplitting = (id: string, params: Params, signal?: AbortSignal) =>
  json<Splitting>(`/api/splitting/${idPath(id)}?${query(params)}`, { signal });
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
export const why = (ask: ChatAsk & WhyMore, signal: AbortSignal) => stream("/api/why", ask, signal);
export const read = (ask: ChatAsk & { answer: number[] }, signal: AbortSignal) =>
  stream("/api/read", ask, signal);
export const steer = (
  ask: ChatAsk & { answer: number[]; control: boolean; control_seed: number },
  signal: AbortSignal,
) => stream("/api/steer", ask, signal);

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

export const getConcept = (params: Params, signal?: AbortSignal) =>
  json<Concept>(`/api/concept?${query(params)}`, { signal });
export const getNear = (text: string, others: string[]) =>
  json<{ cosines: number[]; near: number }>("/api/near", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ text, others }),
  });
export const getMap = (dictionary: string, signal?: AbortSignal) =>
  json<MapData>(`/api/map?${query({ dictionary })}`, { signal });

const sent = (method: string, body: unknown): RequestInit => ({
  method,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

export const listNotes = (feature: string) => json<Note[]>(`/api/notes?${query({ feature })}`);
export const addNote = (feature: string, text: string, author: string) =>
  json<Note>("/api/notes", sent("POST", { feature, text, author }));
export const dropNote = (id: number) => asked(`/api/notes/${id}`, { method: "DELETE" });

const listPath = (name: string) => `/api/lists/${encodeURIComponent(name)}`;
export const getLists = () => json<ListLine[]>("/api/lists");
export const getList = (name: string, params: Params = {}) =>
  json<FeatureList>(`${listPath(name)}?${query(params)}`);
export const putList = (name: string, features: string[], about = "") =>
  json<ListLine>(listPath(name), sent("PUT", { features, about }));
export const dropList = (name: string) => asked(listPath(name), { method: "DELETE" });

export const nextRating = (rater: string) => json<RatingItem>(`/api/rating?${query({ rater })}`);
export const rate = (task: string, rater: string, grade: number, seconds: number) =>
  json<RatingTold>("/api/rating", sent("POST", { task, rater, grade, seconds }));

export const getRegister = () => json<Register>("/api/register");
export const getTours = () => json<TourLine[]>("/api/tours");
export const getTour = (name: string) => json<Tour>(`/api/tours/${encodeURIComponent(name)}`);
