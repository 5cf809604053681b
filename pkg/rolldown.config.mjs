/** The package's entries, each with its modules in one file, but for what several share: a browser asks for few files, and at once. */

import { readdirSync } from "node:fs";
import { defineConfig } from "rolldown";
import { minifySync } from "rolldown/utils";

const at = (path) => new URL(path, import.meta.url).pathname;
const names = ["web", "node", "workerd", "inline", "worker", "node-worker"];
const adapters = readdirSync(at("src/adapters")).filter((file) => file.endsWith(".ts"));

export default defineConfig({
  input: Object.fromEntries(
    [...names, ...adapters.map((file) => `adapters/${file.replace(/\.ts$/, "")}`)].map((name) => [
      name,
      at(`src/${name}.ts`),
    ]),
  ),
  // The wasm, as the edge imports it and as text, lies beside the entries.
  external: [/^node:/, /\.wasm$/, /\/inline\.js$/],
  platform: "neutral",
  tsconfig: at("tsconfig.json"),
  experimental: { attachDebugInfo: "none" },
  transform: { target: "es2022" },
  output: {
    dir: at("dist"),
    format: "esm",
    chunkFileNames: "shared/[name].js",
    minify: false,
    comments: { legal: false, jsdoc: false },
    sourcemap: true,
  },
  plugins: [
    {
      name: "minify",
      renderChunk(code, { fileName }) {
        // Chunks that name files keep their layout, so that what bundlers look for stays as it is written.
        const codegen = { removeWhitespace: !code.includes("import.meta"), legalComments: "none" };
        const options = { module: true, compress: true, mangle: true, codegen, sourcemap: true };
        const { code: small, map, errors } = minifySync(fileName, code, options);
        if (errors.length > 0) throw new Error(errors[0].message);
        return { code: small, map };
      },
    },
  ],
});
