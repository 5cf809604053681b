// Prints what a user downloads: node size.mjs DIST

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

const dist = process.argv[2];

/** Sizes of some files, as they are and with brotli at its best. */
function size(files) {
  const parts = files.map((file) => readFileSync(join(dist, file)));
  const brotli = parts.map(
    (bytes) =>
      brotliCompressSync(bytes, {
        params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 },
      }).length,
  );
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  return { raw: sum(parts.map((bytes) => bytes.length)), brotli: sum(brotli) };
}

const scripts = readdirSync(dist, { recursive: true })
  .filter((file) => file.endsWith(".js") && !["node.js", "workerd.js"].includes(file))
  .filter((file) => file !== join("sources", "directory.js"));
const javascript = size(scripts);
console.log("| what | bytes | brotli |\n|---|---|---|");
console.log(`| JavaScript (web) | ${javascript.raw} | ${javascript.brotli} |`);
for (const build of ["simd128", "relaxed"]) {
  const wasm = size([`wasm/${build}.wasm`]);
  console.log(`| ${build}.wasm | ${wasm.raw} | ${wasm.brotli} |`);
  console.log(`| in all (${build}) | ${javascript.raw + wasm.raw} | ${javascript.brotli + wasm.brotli} |`);
}
