/**
 * Where a browser might keep a model: time to write 90 MB in pieces and to read 23 MB of them back,
 * in the Cache API, the origin's private file system and IndexedDB, in Chromium and Firefox. What
 * this found decided for `pkg/src/cache/browser.ts`.
 */

import { browsers } from "../support/browsers.mjs";
import { median } from "../support/numbers.mjs";
import { serve } from "../support/server.mjs";

const ROUNDS = 5;
const PIECE = 4 << 20;

/** Runs in the page: milliseconds of `{ write, read }` for each store. */
async function measure({ piece, written, read }) {
  const value = new Uint8Array(piece);
  for (let at = 0; at < piece; at += 65536) crypto.getRandomValues(value.subarray(at, at + 65536));
  const stores = {
    async "Cache API"() {
      const cache = await caches.open("bench");
      return {
        put: (key) => cache.put(`/bench/${key}`, new Response(value)),
        get: async (key) => (await cache.match(`/bench/${key}`)).arrayBuffer(),
        clear: () => caches.delete("bench"),
      };
    },
    async "private file system"() {
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle("bench", { create: true });
      return {
        async put(key) {
          const file = await folder.getFileHandle(key, { create: true });
          const stream = await file.createWritable();
          await stream.write(value);
          await stream.close();
        },
        get: async (key) => (await (await folder.getFileHandle(key)).getFile()).arrayBuffer(),
        clear: () => root.removeEntry("bench", { recursive: true }),
      };
    },
    async IndexedDB() {
      const done = (request) =>
        new Promise((resolve, reject) => {
          request.onsuccess = () => resolve(request.result);
          request.onerror = () => reject(request.error);
        });
      const open = indexedDB.open("bench");
      open.onupgradeneeded = () => open.result.createObjectStore("pieces");
      const database = await done(open);
      const pieces = (mode) => database.transaction("pieces", mode).objectStore("pieces");
      return {
        put: (key) => done(pieces("readwrite").put(value, key)),
        get: (key) => done(pieces("readonly").get(key)),
        clear() {
          database.close();
          return done(indexedDB.deleteDatabase("bench"));
        },
      };
    },
  };
  const times = {};
  for (const [name, start] of Object.entries(stores)) {
    const store = await start();
    const begin = performance.now();
    for (let i = 0; i < written; i++) await store.put(String(i));
    const middle = performance.now();
    for (let i = 0; i < read; i++) await store.get(String(i));
    const end = performance.now();
    await store.clear();
    times[name] = { write: middle - begin, read: end - middle };
  }
  return times;
}

const server = await serve({ open: /^tests\/js\/support\/page\.html$/ });
for (const [browser, { open }] of Object.entries(browsers)) {
  const { page, close } = await open.call(browsers[browser], `${server.origin}/tests/js/support/page.html`);
  const sizes = { piece: PIECE, written: Math.ceil(90e6 / PIECE), read: Math.ceil(23e6 / PIECE) };
  const rounds = [];
  for (let i = 0; i < ROUNDS; i++) rounds.push(await page.evaluate(measure, sizes));
  await close();
  const rows = Object.keys(rounds[0]).map((store) => ({
    store,
    "90 MB written, ms": Math.round(median(rounds.map((round) => round[store].write))),
    "23 MB read, ms": Math.round(median(rounds.map((round) => round[store].read))),
  }));
  console.log(browser);
  console.table(rows);
}
await server.close();
