// The records of the HTTP interface, as /openapi.json describes them.

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
}

export interface Upload {
  media: string;
  width: number;
  height: number;
}

export interface Where {
  roles?: ("system" | "user" | "assistant")[];
  kinds?: ("text" | "special" | "image" | "tile" | "newline")[];
  generated?: boolean;
}

export interface Intervention {
  features: [string, number][];
  how: "clamp" | "add" | "scale" | "ablate" | "project";
  strength: number;
  where?: Where;
}

export interface CompareAsk {
  question: string;
  picture: string | null;
  system?: string;
  max_new_tokens: number;
  temperature: number;
  seed: number;
  interventions: Intervention[];
}

export interface TokenEvent {
  kind: "token";
  side: string;
  id: number;
  text: string;
  logprob: number;
  top: { id: number; text: string; logprob: number }[];
  entropy: number;
}

export interface Shift {
  text: string;
  before: number;
  after: number;
  kl: number;
  promoted: { text: string; before: number; after: number }[];
}

export interface Reason {
  id: string;
  label: string;
  category: string;
  attribution: number;
  activation: number;
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
  | { kind: "compared"; kl: number; logprob_shift: number; shifts: Shift[] }
  | {
      kind: "explained";
      metric: string;
      value: number;
      reasons: Reason[];
      tokens: string[];
      unexplained: number | null;
    }
  | { kind: "finished" }
  | { kind: "failed"; message: string; type: string };
