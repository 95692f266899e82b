import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The page is built straight into the package, where the server looks for it.
export default defineConfig({
  plugins: [svelte()],
  base: "/",
  build: {
    outDir: "../src/semascope/serve/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: { proxy: { "/api": "http://127.0.0.1:8123", "/media": "http://127.0.0.1:8123" } },
});
