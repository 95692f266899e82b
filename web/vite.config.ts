/// <reference types="vitest/config" />
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const MOST = 250_000;

/** Says how large the page is, packed, and stops the build where it has outgrown its bound. */
function weight(): Plugin {
  return {
    name: "weight",
    writeBundle(_, bundle) {
      let [page, map] = [0, 0];
      for (const [name, file] of Object.entries(bundle)) {
        const size = gzipSync(file.type === "chunk" ? file.code : file.source).length;
        if (name.includes("MapPage")) map += size;
        else page += size;
      }
      const kilo = (n: number) => `${(n / 1000).toFixed(1)} kB`;
      console.log(`the page: ${kilo(page)} gzip (at most ${kilo(MOST)}); the map: ${kilo(map)} more`);
      if (page > MOST) throw new Error(`The page has grown to ${kilo(page)}: it may have ${kilo(MOST)}.`);
    },
  };
}

// The page is built straight into the package, where the server looks for it.
export default defineConfig({
  plugins: [svelte(), weight()],
  base: "/",
  build: {
    outDir: "../src/semascope/serve/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  test: { include: ["src/**/*.test.ts"] },
  server: { proxy: { "/api": "http://127.0.0.1:8123", "/media": "http://127.0.0.1:8123" } },
});
