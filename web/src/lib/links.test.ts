import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { query } from "./api";

beforeEach(() => {
  vi.resetModules();
  vi.stubGlobal("location", { hash: "#/features" });
  vi.stubGlobal("window", { addEventListener: () => undefined });
});
afterEach(() => vi.unstubAllGlobals());

const at = async (hash: string) => {
  vi.resetModules();
  location.hash = hash;
  const { route } = await import("./route.svelte");
  return route.place;
};

describe("links", () => {
  it("come back as they were, with slashes and other letters in the id", async () => {
    const { featureHref } = await import("./route.svelte");
    const id = "resid_post.12/größe 8×/7";
    expect(await at(featureHref(id))).toMatchObject({ page: "feature", rest: id });
  });

  it("hold parameters, and begin at the list", async () => {
    const { steerHref } = await import("./route.svelte");
    const place = await at(steerHref("a/b&c/1", "hash"));
    expect([place.params.get("feature"), place.params.get("picture")]).toEqual(["a/b&c/1", "hash"]);
    expect((await at("")).page).toBe("features");
  });

  it("leave out what is not set", () => {
    expect(query({ q: "a b", alive: false, category: "", explained: undefined, limit: 0 })).toBe(
      "q=a+b&alive=false&limit=0",
    );
  });
});
