// Interventions: cards on the page, and records of the server.

import type { How, Intervention, Region, Unit, Where } from "./types";

export interface Change {
  /** A feature's id, or a name for a set of them. */
  key: string;
  label: string;
  features: string[];
  how: How;
  strength: number;
  unit: Unit;
  at: string;
  on: boolean;
  /** Where exactly, when `at` is a region or a token. */
  where?: Where;
}

export const PLACES: Record<string, { name: string; where?: Where }> = {
  all: { name: "every token" },
  image: { name: "image tokens", where: { kinds: ["image", "tile"] } },
  prompt: { name: "the whole prompt", where: { generated: false } },
  user: { name: "the user’s text", where: { roles: ["user"], kinds: ["text"] } },
  answer: { name: "the answer", where: { generated: true } },
};

export const HOWS: { key: Change["how"]; name: string; dose: boolean }[] = [
  { key: "ablate", name: "off", dose: false },
  { key: "clamp", name: "set to", dose: true },
  { key: "add", name: "add", dose: true },
  { key: "scale", name: "multiply by", dose: true },
  { key: "project", name: "project out", dose: false },
];

export const UNITS: { key: Unit; name: string }[] = [
  { key: "max", name: "× max" },
  { key: "quantile", name: "λ × top 0.1 %" },
];

export const pair = (id: string): [string, number] => {
  const cut = id.lastIndexOf("/");
  return [id.slice(0, cut), Number(id.slice(cut + 1))];
};

export const whereOf = (change: Change): Where | undefined => change.where ?? PLACES[change.at]?.where;

const dosed = (change: Change) => HOWS.find((h) => h.key === change.how)?.dose ?? true;

export function asIntervention(change: Change): Intervention {
  const where = whereOf(change);
  return {
    features: change.features.map(pair),
    how: change.how,
    strength: dosed(change) ? change.strength : 1,
    ...(dosed(change) && change.how !== "scale" ? { unit: change.unit } : {}),
    name: inWords(change),
    ...(where ? { where } : {}),
  };
}

const many = (change: Change) => (change.features.length > 1 ? ` (${change.features.length} features)` : "");

export function inWords(change: Change): string {
  const name = `${change.label || change.key}${many(change)}`;
  if (change.how === "ablate") return `${name} off`;
  if (change.how === "project") return `${name} projected out`;
  if (change.how === "scale") return `${name} × ${change.strength}`;
  const unit = change.unit === "quantile" ? "λ" : "× max";
  return `${name} ${change.how === "add" ? "+" : "at"} ${change.strength} ${unit}`;
}

/** A change from a stored conversation or a file of interventions. */
export function asChange(found: Partial<Change> & { id?: string }): Change {
  const features = found.features ?? (found.id ? [found.id] : []);
  return {
    key: found.key ?? found.id ?? features[0] ?? "",
    label: found.label ?? "",
    features: [...features],
    how: found.how ?? "clamp",
    strength: found.strength ?? 1,
    unit: found.unit ?? "max",
    at: found.at ?? "all",
    on: found.on ?? true,
    ...(found.where ? { where: found.where } : {}),
  };
}

export function fromIntervention(found: Intervention): Change {
  const features = found.features.map(([dictionary, index]) => `${dictionary}/${index}`);
  const bare = (found.name ?? "").replace(
    / (off|taken out|projected out)$| (at|\+) -?[\d.]+ (λ|× max)$| × -?[\d.]+$/,
    "",
  );
  return asChange({
    key: features.length === 1 ? features[0] : `${found.name || "set"}:${features.length}`,
    label: bare.replace(/ \(\d+ features\)$/, ""),
    features,
    how: found.how,
    strength: found.strength ?? 1,
    unit: found.unit ?? "max",
    at: found.where ? "exact" : "all",
    ...(found.where ? { where: found.where } : {}),
  });
}

const disjoint = <T>(a: readonly T[] | null | undefined, b: readonly T[] | null | undefined) =>
  a && b && !a.some((item) => b.includes(item));

const apart = (a: Region | null | undefined, b: Region | null | undefined) =>
  a &&
  b &&
  ((a.image ?? 0) !== (b.image ?? 0) ||
    a.right <= b.left ||
    b.right <= a.left ||
    a.bottom <= b.top ||
    b.bottom <= a.top);

/** Whether two places certainly have no token in common. */
function neverMeet(a: Where, b: Where): boolean {
  return Boolean(
    (a.generated != null && b.generated != null && a.generated !== b.generated) ||
    disjoint(a.roles, b.roles) ||
    disjoint(a.kinds, b.kinds) ||
    disjoint(a.positions, b.positions) ||
    apart(a.region, b.region),
  );
}

/** Sentences about changes that conflict: they change the same feature at the same tokens. */
export function conflicts(changes: Change[]): string[] {
  const sentences: string[] = [];
  const active = changes.filter((c) => c.on);
  active.forEach((one, i) => {
    for (const other of active.slice(i + 1)) {
      const shared = one.features.filter((f) => other.features.includes(f));
      if (!shared.length || neverMeet(whereOf(one) ?? {}, whereOf(other) ?? {})) continue;
      const what = shared.length === 1 ? `feature ${shared[0]}` : `${shared.length} features`;
      sentences.push(
        `“${inWords(one)}” and “${inWords(other)}” both change ${what} at the same tokens: switch one off.`,
      );
    }
  });
  return sentences;
}
