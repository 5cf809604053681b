/** What a web app's users download before the model. */

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

/**
 * What each way of using the package downloads before the model. One wasm module serves every model, file format and
 * device, so models differ in nothing here.
 */
export const ways = () => ({
  "a page": imported(["web.js", "wasm/relaxed.wasm"]),
  "a page with workers": imported(["web.js", "worker.js", "wasm/relaxed.wasm"]),
  "a page without relaxed SIMD": imported(["web.js", "worker.js", "wasm/simd128.wasm"]),
  "esbuild and Rollup (inline)": imported(["inline.js"]),
  "an edge worker": imported(["workerd.js"]),
});
