// What every part of the page shares: the subject, the theme, whether heat is drawn.

import { getInfo } from "./api";
import type { ScoreKind, SubjectInfo } from "./types";

class Shared {
  info = $state.raw<SubjectInfo | null>(null);
  problem = $state("");
  heat = $state(true);
  theme = $state<"light" | "dark" | "">(
    (document.documentElement.dataset.theme as "light" | "dark" | undefined) ?? "",
  );
  /** Scroll of the list, kept while a feature is looked at. */
  scroll = 0;
  /** Set by "/" where there is no search box: the list, once there, puts the cursor in its own. */
  searching = false;
  /** The list as it was last asked for, to come back to. */
  listHash = "#/features";

  async load(): Promise<void> {
    this.problem = "";
    try {
      this.info = await getInfo();
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
  }

  /** Name and meaning of a kind of score, as the server tells them; a kind newer than this page is
   *  shown by its key. */
  score(kind: string): ScoreKind {
    return this.info?.score_names[kind] ?? { name: kind, meaning: "", top: 1 };
  }

  get dark(): boolean {
    return this.theme ? this.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  flipTheme(): void {
    this.theme = this.dark ? "light" : "dark";
    document.documentElement.dataset.theme = this.theme;
    try {
      localStorage.setItem("semascope-theme", this.theme);
    } catch {
      // a browser that keeps nothing: the choice lasts for this visit
    }
  }
}

export const shared = new Shared();
