/** What a web app's users download before the model, by each way of using the package. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { root } from "./server.mjs";

/** Bytes of some files, as they are and with brotli at its best. */
export function size(folder, files) {
  const total = { bytes: 0, brotli: 0 };
  for (const file of files) {
    const bytes = readFileSync(join(root, folder, file));
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
    total.bytes += bytes.length;
    total.brotli += brotliCompressSync(bytes, { params }).length;
  }
  return total;
}

/** The files of pkg/dist that some entries import, their own and all further ones. */
function imported(entries) {
  const found = new Set(entries);
  for (const file of found) {
    if (!file.endsWith(".js")) continue;
    const code = readFileSync(join(root, "pkg/dist", file), "utf8");
    for (const [, path] of code.matchAll(/\b(?:from|import) ?"(\.[^"]+)"/g))
      found.add(join(dirname(file), path));
  }
  return [...found];
}

/** The most bytes, with brotli at its best, of what most pages load. */
const COMMON = 640e3;
/** The same of any other way. */
const ANY = 950e3;

/**
 * What each way of using the package downloads before the model, and the most that it may be.
 * Models in safetensors, from a URL or the Hub, take the common build of the wasm; GPUs and other
 * formats take the full one.
 */
export const ways = () => {
  const common = "wasm/common-relaxed.wasm";
  const full = "wasm/relaxed.wasm";
  const way = (most, ...entries) => ({ most, files: imported(entries) });
  return {
    "MiniLM by URL": way(COMMON, "web.js", common),
    "MiniLM by URL (gossamer-embed/lean)": way(COMMON, "lean.js", common),
    "MiniLM by URL, in workers": way(COMMON, "web.js", "worker.js", common),
    "MiniLM by URL, without relaxed SIMD": way(COMMON, "web.js", "wasm/common-simd128.wasm"),
    "Qwen3 from the Hub": way(COMMON, "web.js", common),
    WebGPU: way(ANY, "web.js", full),
    "a GGUF or ONNX file": way(ANY, "web.js", full),
    "SPLADE in an edge worker": way(ANY, "workerd.js"),
    "esbuild and Rollup (inline)": way(ANY, "inline.js"),
  };
};
