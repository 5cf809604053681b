/**
 * What is downloaded before the model: by each way of using this package, and by transformers.js
 * with its runtime.
 */

import { size, ways } from "../support/size.mjs";

const table = Object.fromEntries(
  Object.entries(ways()).map(([way, { files }]) => [way, size("pkg/dist", files)]),
);
for (const build of ["common-simd128", "common-relaxed", "simd128", "relaxed"])
  table[`of which ${build}.wasm`] = size("pkg/dist/wasm", [`${build}.wasm`]);
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
