/** What a web app's users download before the model: this package, and transformers.js with its runtime. */

import { modules, size } from "../support/size.mjs";

const ours = size("pkg/dist", modules());
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
