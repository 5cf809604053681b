/**
 * Two bundles. One has the package's entries, each with its modules in one file, except modules
 * that several share: a browser requests few files, all at once. The other one is the command line,
 * which imports the entry for Node like any other program.
 */

import { readdirSync } from "node:fs";
import { defineConfig } from "rolldown";
import { minifySync } from "rolldown/utils";

const at = (path) => new URL(path, import.meta.url).pathname;
const names = ["web", "lean", "node", "workerd", "inline", "worker", "node-worker"];
const adapters = readdirSync(at("src/adapters")).filter((file) => file.endsWith(".ts"));
const inputs = (names) => Object.fromEntries(names.map((name) => [name, at(`src/${name}.ts`)]));

/**
 * Chunks that name files keep their layout, so that what bundlers look for stays as it is written.
 */
const layout = (_fileName, code) => ({ removeWhitespace: !code.includes("import.meta") });
/** No bundler reads the command line. */
const small = () => ({ removeWhitespace: true });

function bundle(input, external, output, codegen) {
  return defineConfig({
    input: inputs(input),
    external: [/^node:/, ...external],
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
      ...output,
    },
    plugins: [
      {
        name: "minify",
        renderChunk(code, { fileName }) {
          const options = { module: true, compress: true, mangle: true, sourcemap: true };
          const {
            code: minified,
            map,
            errors,
          } = minifySync(fileName, code, {
            ...options,
            codegen: { ...codegen(fileName, code), legalComments: "none" },
          });
          if (errors.length > 0) throw new Error(errors[0].message);
          return { code: minified, map };
        },
      },
    ],
  });
}

export default [
  // The wasm, as the edge imports it and as text, lies beside the entries.
  bundle(
    [...names, ...adapters.map((file) => `adapters/${file.replace(/\.ts$/, "")}`)],
    [/\.wasm$/, /\/inline\.js$/],
    {},
    layout,
  ),
  bundle(["cli"], ["./node.js"], { paths: (id) => (id.startsWith("node:") ? id : "./node.js") }, small),
];
