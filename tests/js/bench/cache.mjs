/**
 * Time from `load` to the first vector of all-MiniLM-L6-v2 from a Hub on the same machine, and
 * again in a new page or process, from the cache: in Chromium, Firefox and Node.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { browsers } from "../support/browsers.mjs";
import { run } from "../support/child.mjs";
import { median } from "../support/numbers.mjs";
import { serve } from "../support/server.mjs";

const ROUNDS = 5;
const MODEL = "org/minilm";

const server = await serve();
const endpoint = `${server.origin}/hub`;

/** Milliseconds of a start; `fresh`: with nothing in the cache. */
const inPage = async ([model, endpoint, fresh]) => {
  const { cache, load } = await import("gossamer-embed");
  if (fresh) await cache.clear();
  const begin = performance.now();
  const embedder = await load(model, { endpoint });
  await embedder.encode("Ships at night");
  const time = performance.now() - begin;
  await embedder.cached;
  embedder.dispose();
  return time;
};

async function inBrowser(browser) {
  const address = `${server.origin}/tests/js/support/page.html`;
  const { page, another, close } = await browser.open(address);
  await page.waitForFunction(() => "runCase" in globalThis);
  const start = async (fresh) => {
    const tab = await another(address);
    await tab.waitForFunction(() => "runCase" in globalThis);
    const time = await tab.evaluate(inPage, [MODEL, endpoint, fresh]);
    await tab.close();
    return time;
  };
  return { start, close };
}

async function inNode() {
  const folder = await mkdtemp(join(tmpdir(), "gossamer-"));
  const script = fileURLToPath(new URL("../support/load-once.mjs", import.meta.url));
  const env = { ...process.env, HF_HUB_CACHE: folder, HF_ENDPOINT: endpoint };
  const start = async (fresh) => {
    if (fresh) await rm(folder, { recursive: true });
    const { stdout } = await run(process.execPath, [script, MODEL], { env });
    return Number(stdout);
  };
  return { start, close: () => rm(folder, { recursive: true }) };
}

const hosts = { ...browsers, [`Node ${process.versions.node}`]: { inNode } };
const rows = [];
for (const [name, host] of Object.entries(hosts)) {
  const { start, close } = await (host.inNode ? inNode() : inBrowser(host));
  const times = { first: [], second: [] };
  for (let round = 0; round < ROUNDS; round++) {
    times.first.push(await start(true));
    times.second.push(await start(false));
  }
  await close();
  const first = median(times.first);
  const second = median(times.second);
  rows.push({
    host: name,
    "first start, ms": Math.round(first),
    "second start, ms": Math.round(second),
    ratio: Number((first / second).toFixed(2)),
  });
}
console.table(rows);
await server.close();
