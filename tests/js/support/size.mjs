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

/** The modules in pkg/dist that a page, and a worker of its pool, import. */
export function modules() {
  const found = new Set(["web.js", "worker.js"]);
  for (const file of found) {
    const code = readFileSync(join(root, "pkg/dist", file), "utf8");
    for (const [, path] of code.matchAll(/\bfrom ?"(\.[^"]+)"/g)) found.add(join(dirname(file), path));
  }
  return [...found];
}
