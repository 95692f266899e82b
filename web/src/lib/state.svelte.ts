// State shared by the whole page: the run, the theme, whether heat is drawn.

import { getInfo, sentence } from "./api";
import type { ScoreKind, SubjectInfo } from "./types";

const THEME = "semascope-theme";

class Shared {
  info = $state.raw<SubjectInfo | null>(null);
  problem = $state("");
  heat = $state(true);
  dark = $state(document.documentElement.dataset.theme === "dark");
  /** Scroll position of the list, kept while a feature is open. */
  scroll = 0;
  /** Set by "/" on pages without a search box: the list then focuses its own. */
  searching = false;
  /** Address of the list as it was last shown. */
  listHash = "#/features";

  async load(): Promise<void> {
    this.problem = "";
    try {
      this.info = await getInfo();
    } catch (error) {
      this.problem = sentence(error);
    }
  }

  /** Name and meaning of a kind of score; a kind that the server does not describe is shown by its
   *  key. */
  score(kind: string): ScoreKind {
    return this.info?.score_names[kind] ?? { name: kind, meaning: "", top: 1 };
  }

  constructor() {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (system) => {
      if (!chosenTheme()) this.show(system.matches);
    });
  }

  flipTheme(): void {
    this.show(!this.dark);
    try {
      localStorage.setItem(THEME, this.dark ? "dark" : "light");
    } catch {
      // the browser stores nothing: the choice lasts for this visit
    }
  }

  private show(dark: boolean): void {
    this.dark = dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }
}

/** The theme that the user chose; public/theme.js reads the same entry. */
function chosenTheme(): string | null {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null;
  }
}

export const shared = new Shared();
