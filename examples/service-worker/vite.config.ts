import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { main: "index.html", sw: "src/sw.ts" },
      // A service worker has the scope of its folder, and is found anew by its name.
      output: { entryFileNames: "[name].js" },
    },
  },
  worker: { format: "es" },
});
