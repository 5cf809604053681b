/** What a web app's users download before the model: this package, and transformers.js with its runtime. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { root } from "../support/server.mjs";

/** For hosts with files, or without a web. */
const ELSEWHERE = ["node.js", "node-worker.js", "workerd.js", join("sources", "directory.js")];
/** Only for those who import an adapter. */
const ADAPTERS = /^adapters|^lists\.js$/;

/** Bytes of some files, as they are and with brotli at its best. */
function size(folder, files) {
  const total = { bytes: 0, brotli: 0 };
  for (const file of files) {
    const bytes = readFileSync(join(root, folder, file));
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
    total.bytes += bytes.length;
    total.brotli += brotliCompressSync(bytes, { params }).length;
  }
  return total;
}

const scripts = readdirSync(`${root}pkg/dist`, { recursive: true }).filter(
  (file) => file.endsWith(".js") && !ELSEWHERE.includes(file) && !ADAPTERS.test(file),
);
const ours = size("pkg/dist", scripts);
const table = { "our JavaScript": ours };
for (const build of ["simd128", "relaxed"]) {
  const wasm = size("pkg/dist/wasm", [`${build}.wasm`]);
  table[`${build}.wasm`] = wasm;
  table[`ours in all, ${build}`] = { bytes: ours.bytes + wasm.bytes, brotli: ours.brotli + wasm.brotli };
}
const peers = "tests/js/bench/peers/node_modules";
const library = size(`${peers}/@huggingface/transformers/dist`, ["transformers.web.min.js"]);
const runtime = size(`${peers}/onnxruntime-web/dist`, [
  "ort.webgpu.bundle.min.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
]);
table["transformers.js and its runtime"] = {
  bytes: library.bytes + runtime.bytes,
  brotli: library.brotli + runtime.brotli,
};
console.table(table);
