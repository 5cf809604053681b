/**
 * Time that the wasm takes to start: to compile and to instantiate, in browsers; in workerd, from
 * the start of a worker that imports it to its first answer, beyond that of a worker without wasm.
 * Builds by turns; the least of several times in browsers, the median in workerd. Arguments: wasm
 * files to compare with, such as those of another version.
 */

import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { browsers, missing } from "../support/browsers.mjs";
import { median } from "../support/numbers.mjs";
import { root, serve } from "../support/server.mjs";
import { startWorker } from "../support/workers.mjs";

const ROUNDS = 15;
const BUILDS = ["common-relaxed", "relaxed"].map((name) => join(root, `pkg/dist/wasm/${name}.wasm`));

const files = [...BUILDS, ...process.argv.slice(2)];
const nameOf = (file) => `${basename(dirname(dirname(file)))} ${basename(file, ".wasm")}`;

/**
 * In a page: milliseconds to compile and to instantiate each file, in each round. Runs there, so it
 * refers to nothing out here.
 */
async function inPage([texts, rounds]) {
  /**
   * Engines keep what they have compiled by its bytes, so each time these differ in a section that
   * means nothing.
   */
  const marked = (bytes, number) => {
    const section = new Uint8Array([0, 7, 1, 120, 0, 0, 0, 0, number]);
    const all = new Uint8Array(bytes.length + section.length);
    all.set(bytes);
    all.set(section, bytes.length);
    return all;
  };
  const nothing = (module) => {
    const imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      imports[from] ??= {};
      imports[from][name] = () => {};
    }
    return imports;
  };
  const sources = await Promise.all(
    texts.map(async (text) => new Uint8Array(await (await fetch(`data:;base64,${text}`)).arrayBuffer())),
  );
  const times = sources.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [index, source] of sources.entries()) {
      const bytes = marked(source, round);
      const start = performance.now();
      const module = await WebAssembly.compile(bytes);
      const compiled = performance.now();
      await WebAssembly.instantiate(module, nothing(module));
      // The first round is the engine's own start.
      if (round > 0) times[index].push([compiled - start, performance.now() - compiled]);
    }
  }
  return times;
}

/** Milliseconds from the start of a worker to its first answer. */
async function inWorkerd(wasm) {
  const code = wasm
    ? `import module from "./x.wasm";
       const imports = {};
       for (const { module: from, name } of WebAssembly.Module.imports(module)) (imports[from] ??= {})[name] = () => {};
       export default { fetch: () => new Response(String(new WebAssembly.Instance(module, imports).exports.memory.buffer.byteLength)) };`
    : "export default { fetch: () => new Response('0') };";
  const modules = [
    { type: "ESModule", path: `${root}index.mjs`, contents: code },
    ...(wasm ? [{ type: "CompiledWasm", path: `${root}x.wasm`, contents: wasm }] : []),
  ];
  const start = performance.now();
  const worker = await startWorker({ modules });
  const response = await worker.dispatchFetch("http://worker/");
  if (!response.ok) throw new Error(await response.text());
  const end = performance.now();
  await worker.dispose();
  return end - start;
}

const contents = await Promise.all(files.map((file) => readFile(file)));
const rows = Object.fromEntries(
  files.map((file, index) => [nameOf(file), { bytes: contents[index].length }]),
);
const server = await serve();
for (const [name, browser] of Object.entries(browsers)) {
  if (missing(browser)) continue;
  const { page, close } = await browser.open(`${server.origin}/tests/js/support/page.html`);
  const texts = contents.map((bytes) => bytes.toString("base64"));
  const times = await page.evaluate(inPage, [texts, ROUNDS]);
  for (const [index, file] of files.entries()) {
    const [compile, instantiate] = [0, 1].map((part) => Math.min(...times[index].map((time) => time[part])));
    rows[nameOf(file)][`${name}: compile, ms`] = Number(compile.toFixed(1));
    rows[nameOf(file)][`${name}: instantiate, ms`] = Number(instantiate.toFixed(1));
  }
  await close();
}
await server.close();
const workers = [undefined, ...contents];
const walls = workers.map(() => []);
for (let round = 0; round < ROUNDS; round++) {
  for (const [index, wasm] of workers.entries()) walls[index].push(await inWorkerd(wasm));
}
for (const [index, file] of files.entries()) {
  const beyond = median(walls[index + 1].map((time, round) => time - walls[0][round]));
  rows[nameOf(file)]["workerd: start to first answer, ms"] = Number(beyond.toFixed(1));
}
console.table(rows);
