// What a tour's question is answered with: a measurement of the conversation as it stands.

import { getNear } from "./api";
import type { Cluster, TokenEvent, TourStep } from "./types";
import type { Conversation } from "./chat.svelte";
import { said } from "./exchange";
import { percent } from "./words";

/** Where in an answer the first token stands that holds one of some words; where none does, the first that says something. */
export function place(tokens: TokenEvent[], words: string): number {
  const asked = words.toLowerCase().split(/\s+/).filter(Boolean);
  const held = tokens.findIndex((t) => asked.some((word) => t.text.toLowerCase().includes(word)));
  return held >= 0
    ? held
    : Math.max(
        0,
        tokens.findIndex((t) => t.tells),
      );
}

export interface Nearest {
  cluster: Cluster;
  cosine: number;
  /** Whether it is near enough to mean the words. */
  meant: boolean;
}

/** What the last look of a tour asked about, and what it found; a change clears the panel. */
export interface Look {
  token: number;
  clusters: Cluster[];
}

/** The concept that comes nearest to some words; null where there are none. */
export async function nearest(text: string, clusters: Cluster[]): Promise<Nearest | null> {
  if (!clusters.length) return null;
  const told = clusters.map((c) => `${c.label}. ${c.features[0]?.description ?? ""}`);
  const { cosines, near } = await getNear(text, told);
  const best = cosines.reduce((best, cosine, n) => (cosine > (cosines[best] ?? -1) ? n : best), 0);
  const [cluster, cosine] = [clusters[best], cosines[best]];
  return cluster && cosine !== undefined ? { cluster, cosine, meant: cosine >= near } : null;
}

/** One sentence with the figures; it says so where there is nothing to measure. */
export async function measured(step: TourStep, talk: Conversation, look: Look): Promise<string> {
  const answers = talk.exchanges.at(-1)?.answers ?? [];
  const changed = talk.changes.length ? answers.findLast((a) => a.side === "changed") : undefined;
  const plain = answers.findLast((a) => a.side === "plain");
  const control = answers.findLast((a) => a.side === "control");
  if (step.measure === "contains") {
    const text = said(changed ?? plain);
    const holds = text.toLowerCase().includes((step.text ?? "").toLowerCase());
    return `${holds ? "Yes" : "No"}: the answer ${holds ? "holds" : "does not hold"} “${step.text}”.`;
  }
  if (step.measure === "clusters") {
    const found = await nearest(step.text ?? "", look.clusters);
    if (!found) return "There are no concepts here.";
    return `${found.meant ? "Yes" : "No"}: the nearest is “${found.cluster.label}” (cosine ${found.cosine.toFixed(2)}).`;
  }
  if (!changed || !plain) return "There is no intervention, so there is nothing to compare.";
  if (step.measure === "changed")
    return said(changed) === said(plain)
      ? "No: same answer."
      : `Yes: “${said(plain).trim()}” became “${said(changed).trim()}”.`;
  if (step.measure === "kl" && changed.distance)
    return `KL ${changed.distance.kl.toFixed(2)} nats a token${control?.distance ? `, random control ${control.distance.kl.toFixed(2)}` : ""}.`;
  if (step.measure === "probability") {
    const shift = changed.distance?.shifts[look.token];
    if (shift)
      return `“${shift.text.trim()}”: ${percent(Math.exp(shift.before))} → ${percent(Math.exp(shift.after))}.`;
  }
  return "It could not be measured: the changed answer brought no figures.";
}
