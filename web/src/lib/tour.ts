// What a tour's question is answered with: a measurement of the conversation as it stands.

import type { TourStep } from "./asktypes";
import type { Conversation } from "./chat.svelte";
import { said } from "./exchange";
import { percent } from "./words";

const words = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** One sentence with the figures; it says so where there is nothing to measure. */
export function measured(step: TourStep, talk: Conversation): string {
  const answers = talk.exchanges.at(-1)?.answers ?? [];
  const changed = answers.findLast((a) => a.side === "changed");
  const plain = answers.findLast((a) => a.side === "plain");
  const control = answers.findLast((a) => a.side === "control");
  if (step.measure === "contains") {
    const text = said(changed ?? plain);
    const holds = text.toLowerCase().includes((step.text ?? "").toLowerCase());
    return `${holds ? "Yes" : "No"}: the answer ${holds ? "holds" : "does not hold"} “${step.text}”.`;
  }
  if (step.measure === "clusters") {
    const clusters = talk.inquiry.clusters ?? [];
    const asked = words(step.text ?? "");
    const found = clusters.find((c) =>
      words([c.label, ...c.features.map((f) => `${f.label} ${f.description}`)].join(" ")).some((w) => asked.includes(w)),
    );
    return found ? `Yes: the concept “${found.label}”.` : `No: none of the ${clusters.length} concepts found shares a word with “${step.text}”.`;
  }
  if (!changed || !plain) return "Nothing was changed, so there is nothing to compare.";
  if (step.measure === "changed")
    return said(changed) === said(plain) ? "No: the same words." : `Yes: “${said(plain).trim()}” became “${said(changed).trim()}”.`;
  if (step.measure === "kl" && changed.distance)
    return `KL ${changed.distance.kl.toFixed(2)} nats a token${control?.distance ? `, random control ${control.distance.kl.toFixed(2)}` : ""}.`;
  if (step.measure === "probability") {
    const picked = talk.inquiry.picked;
    const at = picked && answers[picked.answer]?.side === "plain" ? picked.token : 0;
    const shift = changed.distance?.shifts[at];
    if (shift) return `“${shift.text.trim()}”: ${percent(Math.exp(shift.before))} → ${percent(Math.exp(shift.after))}.`;
  }
  return "It could not be measured: the changed answer brought no figures.";
}
