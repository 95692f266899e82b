// Shared by the tests: a server that answers with a stream, and a few records.

import { vi } from "vitest";
import type { Event, TokenEvent } from "./types";

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

export const token = (side: TokenEvent["side"], text: string, id = text.length): TokenEvent => ({
  kind: "token",
  side,
  id,
  text,
  logprob: -0.5,
  top: [],
  entropy: 0,
  ends: false,
  tells: true,
});

export const finished: Event = { kind: "finished" };
