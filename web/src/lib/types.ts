// The records of the HTTP interface, as /openapi.json describes them.

import type {
  AlikeRow,
  Cluster,
  Distance,
  Effect,
  Named,
  Note,
  ReadToken,
  Target,
  Tested,
  Tried,
  Versus,
  WhyMode,
} from "./asktypes";

export type Modality = "image" | "text" | "both" | "none";

export interface Score {
  kind: string;
  value: number;
  baseline: number | null;
  low: number | null;
  high: number | null;
  evidence: string;
}

export interface Picture {
  media: string;
  width: number;
  height: number;
  rects: [number, number, number, number][];
  values: number[];
}

export interface TextToken {
  text: string;
  value: number;
  special: boolean;
}

export interface Exemplar {
  sample: string;
  peak: number;
  split: string;
  interval: number | null;
  pictures: Picture[];
  tokens: TextToken[];
  caption: string;
}

export interface FeatureRow {
  id: string;
  dictionary: string;
  index: number;
  label: string;
  description: string;
  category: string;
  author: string;
  confidence: number | null;
  abstained: boolean;
  alive: boolean;
  modality: Modality;
  density: number | null;
  maximum: number | null;
  scores: Score[];
  exemplars: Exemplar[];
  similarity: number | null;
  past?: string;
}

export interface FeatureList {
  total: number;
  offset: number;
  rows: FeatureRow[];
}

export interface Explanation {
  label: string;
  description: string;
  category: string;
  confidence: number | null;
  abstained: boolean;
  author: string;
  prompt_version: string;
}

export interface FeaturePage {
  feature: FeatureRow;
  explanations: Explanation[];
  top: Exemplar[];
  intervals: Exemplar[];
  silent: Exemplar[];
  histogram: { low: number; high: number; count: number }[];
  stats: Record<string, number>;
  neighbours: { id: string; label: string; value: number; how: string }[];
  promoted: { text: string; value: number }[];
  lowered: { text: string; value: number }[];
  notes?: Note[];
  lists?: string[];
}

/** A feature and what it becomes in the next wider dictionary. */
export interface Branch {
  id: string;
  name: string;
  by: "words" | "concept" | "token" | "nothing";
  f1: number | null;
  held: boolean;
  cosine: number | null;
  together: number | null;
  within: number | null;
  usual: number | null;
  leaves: number;
  more: number;
  children: Branch[];
}

export interface Splitting {
  feature: string;
  threshold: number;
  widths: { id: string; width: number; alive: number }[];
  ancestors: Branch[];
  nearest: number | null;
  tree: Branch | null;
}

export interface DictionaryInfo {
  id: string;
  site: string;
  width: number;
  alive: number | null;
  explained: number | null;
  metrics: Record<string, number>;
}

export interface SubjectInfo {
  name: string;
  workspace: string;
  has_vision: boolean;
  can_generate: boolean;
  why_not: string;
  dictionaries: DictionaryInfo[];
  categories: string[];
  score_kinds: string[];
  can_search: boolean;
  features: number;
  questions: string[];
  namer: string;
  models: { name: string; dictionaries: string[] }[];
  corpus: string;
  read: Record<string, string[]>;
}

export interface Upload {
  media: string;
  width: number;
  height: number;
}

export interface Region {
  left: number;
  top: number;
  right: number;
  bottom: number;
  image: number;
}

export interface Where {
  roles?: ("system" | "user" | "assistant")[];
  kinds?: ("text" | "special" | "image" | "tile" | "newline")[];
  text?: string;
  positions?: number[];
  region?: Region;
  generated?: boolean;
}

export interface Intervention {
  features: [string, number][];
  how: "clamp" | "add" | "scale" | "ablate" | "project";
  strength?: number;
  unit?: Unit;
  quantile?: number;
  name?: string;
  where?: Where;
}

export type Unit = "max" | "quantile" | "absolute";

export interface TokenEvent {
  kind: "token";
  side: string;
  id: number;
  text: string;
  logprob: number;
  top: { id: number; text: string; logprob: number }[];
  entropy: number;
  /** It closes the answer: no word of it. */
  ends?: boolean;
  /** It says something: more than an article, or "there is". */
  tells?: boolean;
}

export interface Gain {
  text: string;
  before: number;
  after: number;
}

export interface Shift {
  text: string;
  before: number;
  after: number;
  kl: number;
  promoted: Gain[];
}

export interface Reason {
  id: string;
  label: string;
  category: string;
  attribution: number;
  activation: number;
  share?: number;
  where: number[];
}

export interface Message {
  role: "system" | "user" | "assistant";
  text: string;
  pictures: string[];
}

export interface ChatAsk {
  messages: Message[];
  prefill: string;
  interventions: Intervention[];
  max_new_tokens: number;
  temperature: number;
  seed: number;
  top: number;
}

export interface Kept {
  id: string;
  title: string;
  updated: number;
}

export type Event =
  | { kind: "queued"; ahead: number }
  | { kind: "started"; side: string }
  | TokenEvent
  | {
      kind: "answered";
      side: string;
      text: string;
      stopped: string;
      prompt_tokens: number;
      seconds: number;
    }
  | ({ kind: "compared" } & Partial<Distance> & Pick<Distance, "kl" | "logprob_shift" | "shifts">)
  | {
      kind: "explained";
      metric: string;
      value: number;
      mode?: WhyMode;
      target?: Target;
      reasons: Reason[];
      tokens: string[];
      unexplained: number | null;
    }
  | { kind: "progress"; done: number; total: number; note: string }
  | { kind: "clustered"; clusters: Cluster[]; unclustered: number; note: string }
  | ({ kind: "effect" } & Effect)
  | ({ kind: "named" } & Named)
  | { kind: "read"; tokens: ReadToken[]; sizes: [number, number][] }
  | ({ kind: "tried" } & Tried)
  | { kind: "alike"; rows: AlikeRow[] }
  | ({ kind: "versus" } & Versus)
  | { kind: "tested"; concept: string; feature: string; tested: Tested }
  | { kind: "finished" }
  | { kind: "failed"; message: string; type: string };
