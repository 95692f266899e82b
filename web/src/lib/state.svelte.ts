// What every part of the page shares: the subject, the theme, whether heat is drawn.

import { getInfo, sentence } from "./api";
import type { ScoreKind, SubjectInfo } from "./types";

const THEME = "semascope-theme";

class Shared {
  info = $state.raw<SubjectInfo | null>(null);
  problem = $state("");
  heat = $state(true);
  dark = $state(document.documentElement.dataset.theme === "dark");
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
      this.problem = sentence(error);
    }
  }

  /** Name and meaning of a kind of score, as the server tells them; a kind newer than this page is
   *  shown by its key. */
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
      // a browser that keeps nothing: the choice lasts for this visit
    }
  }

  private show(dark: boolean): void {
    this.dark = dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }
}

/** The theme that was chosen by hand, kept by the browser; public/theme.js reads the same. */
function chosenTheme(): string | null {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null;
  }
}

export const shared = new Shared();
