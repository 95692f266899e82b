// A question and its answers: original, steered and control.

import type { Distance, Intervention, TokenEvent } from "./types";

/** One answer; `changes` names its interventions for the reader, `under` holds them as data. */
export interface Answered {
  side: "plain" | "changed" | "control";
  /** Text that it was made to begin with. */
  prefill: string;
  tokens: TokenEvent[];
  changes: string[];
  under: Intervention[];
  distance?: Distance;
  /** Why it ended and how long it took; absent while it is running. */
  stopped?: string;
  seconds?: number;
}

export interface Exchange {
  text: string;
  pictures: string[];
  answers: Answered[];
}

export const textOf = (answer: Answered | undefined): string =>
  answer?.tokens
    .filter((t) => !t.ends)
    .map((t) => t.text)
    .join("") ?? "";

/** All of an answer, including its prefill. */
export const whole = (answer: Answered | undefined): string => (answer?.prefill ?? "") + textOf(answer);

/** The answer with which the conversation continues: the last that is no control. */
export const spoken = (exchange: Exchange): Answered | undefined =>
  exchange.answers.findLast((a) => a.side !== "control");

export const newAnswer = (
  side: Answered["side"],
  prefill: string,
  under: Intervention[] = [],
  changes: string[] = [],
): Answered => ({ side, prefill, tokens: [], changes, under });

/** Add an answer of a steered run to an exchange. */
export function answerAgain(
  exchange: Exchange,
  side: string,
  prefill: string,
  under: Intervention[],
  words: string[],
): Answered {
  const made =
    side === "before"
      ? newAnswer("plain", prefill)
      : side === "control"
        ? newAnswer("control", prefill, [], ["random features, matched in density and norm"])
        : newAnswer("changed", prefill, under, words);
  exchange.answers.push(made);
  return exchange.answers.at(-1) as Answered; // the reactive one, not the one that was put in
}

/** An answer from a stored conversation. */
export function asAnswered(found: Partial<Answered>): Answered {
  const under = found.under ?? [];
  return {
    side: found.side ?? (under.length ? "changed" : "plain"),
    prefill: found.prefill ?? "",
    tokens: found.tokens ?? [],
    changes: found.changes ?? [],
    under,
    ...(found.distance ? { distance: found.distance } : {}),
    ...(found.stopped ? { stopped: found.stopped, seconds: found.seconds ?? 0 } : {}),
  };
}
