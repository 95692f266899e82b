// Server-sent events: bytes in, records out, in whatever pieces the bytes arrive.

import type { Event } from "./types";

/** The events of a response's body, in order; lines that are not data are skipped. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Event> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n")) as Event;
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // nobody listens any more: the server may stop
  }
}
