import { describe, expect, it } from "vitest";
import { eventsOf } from "./events";
import { body, finished, streamed, token } from "./testing";
import type { Event } from "./types";

async function all(stream: ReadableStream<Uint8Array>): Promise<Event[]> {
  const found: Event[] = [];
  for await (const event of eventsOf(stream)) found.push(event);
  return found;
}

describe("eventsOf", () => {
  const events: Event[] = [{ kind: "queued", ahead: 2 }, token("answer", "日本語 🐱\n\nx"), finished];

  // A chunk boundary falls anywhere, within a character too: a decoder for each chunk would break it.
  it.each([1, 2, 3, 5, 1000])("reads the same in chunks of %i bytes", async (size) => {
    expect(await all(body(streamed(events), size))).toEqual(events);
  });

  it("passes over comments and carriage returns", async () => {
    const text = `: keep alive\n\ndata: {"kind":"queued",\r\ndata:"ahead":0}\r\n\r\nevent: x\n\n`;
    expect(await all(body(text))).toEqual([{ kind: "queued", ahead: 0 }]);
  });

  it("gives no half event where the stream is cut", async () => {
    expect(await all(body(`${streamed([finished])}data: {"kind":`))).toEqual([finished]);
  });

  it("tells the server when nobody listens any more", async () => {
    let cancelled = false;
    const stream = new ReadableStream<Uint8Array>({
      start: (control) => control.enqueue(new TextEncoder().encode(streamed([finished]))),
      cancel: () => void (cancelled = true),
    });
    for await (const event of eventsOf(stream)) if (event.kind === "finished") break;
    expect(cancelled).toBe(true);
  });
});
