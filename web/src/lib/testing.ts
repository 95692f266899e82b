// Shared by the tests: a server that answers with a stream, and the recorded answers of a tiny run.

import { vi } from "vitest";
import type { Event, TokenEvent } from "./types";

const FILES = import.meta.glob<unknown>("./recorded/*.json", { eager: true, import: "default" });
type Kind = Event["kind"];
type Of<K extends Kind> = Extract<Event, { kind: K }>;

/** The answer of a route, as the server gave it to `python -m tests.serve.recording`. */
export function recorded<T = Event[]>(route: string): T {
  const found = FILES[`./recorded/${route}.json`];
  if (found === undefined) throw new Error(`No answer of ${route} is recorded.`);
  return structuredClone(found) as T;
}

/** The first event of a kind, with some of its fields changed. */
export function event<K extends Kind>(events: Event[], kind: K, fields: Partial<Of<K>> = {}): Of<K> {
  const found = events.find((one): one is Of<K> => one.kind === kind);
  if (!found) throw new Error(`There is no event ${kind} among these.`);
  return { ...found, ...fields };
}

/** The bytes of an event stream in small pieces, as a network may deliver them. */
export function body(text: string, size = 7): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  return new ReadableStream({
    start(control) {
      for (let at = 0; at < bytes.length; at += size) control.enqueue(bytes.slice(at, at + size));
      control.close();
    },
  });
}

export const streamed = (events: Event[]): string =>
  events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");

/** Let `fetch` answer each request with the next of these; the requests' bodies come back. */
export function answering(...answers: (Event[] | Response | Error)[]): unknown[] {
  const asked: unknown[] = [];
  vi.stubGlobal("fetch", (_: string, init?: RequestInit) => {
    asked.push(init?.body ? JSON.parse(String(init.body)) : undefined);
    const answer = answers.shift();
    if (answer instanceof Error) return Promise.reject(answer);
    if (answer instanceof Response) return Promise.resolve(answer);
    return Promise.resolve(new Response(body(streamed(answer ?? []))));
  });
  return asked;
}

const chat = recorded("chat");

export const token = (side: TokenEvent["side"], text: string, id = text.length): TokenEvent =>
  event(chat, "token", { side, text, id });

export const finished = event(chat, "finished");
