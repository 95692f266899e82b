// Every request of the page. Errors are sentences of the server, shown as they are.

import { eventsOf } from "./events";
import type {
  Agreement,
  Asks,
  Concept,
  Event,
  FeatureList,
  FeaturePage,
  Kept,
  KeptWhole,
  ListLine,
  MapData,
  Note,
  RatingItem,
  RatingReveal,
  Register,
  Splitting,
  SubjectInfo,
  Tour,
  TourLine,
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
  const body = (await response.json().catch(() => null)) as {
    error?: { message?: string };
  } | null;
  throw new Problem(body?.error?.message ?? `The server answered ${response.status}.`, response.status);
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

const sent = (method: string, body: unknown): RequestInit => ({
  method,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

/** Post a question and yield its events. */
export async function* stream<Path extends keyof Asks>(
  path: Path,
  ask: Asks[Path],
  signal: AbortSignal,
): AsyncGenerator<Event> {
  const response = await asked(path, { ...sent("POST", ask), signal });
  if (response.body) yield* eventsOf(response.body);
}

/** An error as a sentence; empty where the user stopped the question. */
export function sentence(error: unknown): string {
  if (error instanceof DOMException && error.name === "AbortError") return "";
  return error instanceof Error ? error.message : String(error);
}

/** For an effect: load something; what comes back stops the request when it is no longer wanted. */
export function load<T>(
  get: (signal: AbortSignal) => Promise<T>,
  got: (answer: T) => void,
  failed: (problem: string) => void,
): () => void {
  const aborter = new AbortController();
  get(aborter.signal).then(got, (error: unknown) => {
    if (!aborter.signal.aborted) failed(sentence(error));
  });
  return () => aborter.abort();
}

export const listKept = () => json<Kept[]>("/api/sessions");
export const readKept = (id: string) => json<KeptWhole>(`/api/sessions/${encodeURIComponent(id)}`);
export const keep = (id: string, title: string, body: unknown) =>
  json<Kept>(
    id ? `/api/sessions/${encodeURIComponent(id)}` : "/api/sessions",
    sent(id ? "PUT" : "POST", { title, body }),
  );
export const forget = (id: string) => asked(`/api/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });

export const getConcept = (params: Params, signal?: AbortSignal) =>
  json<Concept>(`/api/concept?${query(params)}`, { signal });
export const getMap = (dictionary: string, signal?: AbortSignal) =>
  json<MapData>(`/api/map?${query({ dictionary })}`, { signal });

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

export const agreement = () => json<Agreement>("/api/rating/agreement");
export const nextRating = (rater: string) => json<RatingItem>(`/api/rating?${query({ rater })}`);
export const rate = (task: string, rater: string, grade: number, seconds: number) =>
  json<RatingReveal>("/api/rating", sent("POST", { task, rater, grade, seconds }));

export const getRegister = () => json<Register>("/api/register");
export const getTours = () => json<TourLine[]>("/api/tours");
export const getTour = (name: string) => json<Tour>(`/api/tours/${encodeURIComponent(name)}`);
