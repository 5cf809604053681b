/**
 * A first visit: time from the import of the library to the first vector, in a fresh Chromium with
 * nothing cached, through a link of a given speed and delay, by turns with transformers.js. Both
 * load all-MiniLM-L6-v2 by the same id from a Hub that lists its files and keeps large ones on
 * another host. Scripts and WebAssembly are sent with brotli.
 *
 * `node visit.mjs [ROUNDS] [MBIT,…]`; `--waterfall` prints when each request of ours began and
 * ended.
 */

import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { load } from "gossamer-embed";
import { browsers } from "../support/browsers.mjs";
import { Link } from "../support/link.mjs";
import { dot, median } from "../support/numbers.mjs";
import { saveInto } from "../support/save.mjs";
import { root, serve } from "../support/server.mjs";

const words = process.argv.slice(2);
const [rounds = "3", speeds = "50,20"] = words.filter((word) => !word.startsWith("--"));
const isWaterfall = words.includes("--waterfall");
const ROUND_TRIP = 30;
const MODEL = "sentence-transformers/all-MiniLM-L6-v2";
const MODELS = join(root, "target/bench/models");
const COMPRESSED = join(root, "target/bench/brotli");
const OPEN = /^(pkg\/dist|models|target\/bench\/models|tests\/js\/bench)\//;

/** What is measured: ours with these options, and the factor of their speed that is the goal. */
const OURS = {
  "by default, in 16 bits": { model: "bench/minilm", goal: 0.8 },
  'download: "small"': { model: "bench/minilm", options: { download: "small" }, goal: 1.4 },
  "saved in q8": { model: "bench/minilm-q8", goal: 1.4 },
  "saved in q6": { model: "bench/minilm-q6", goal: 1.8 },
  "saved in q6, a worker": { model: "bench/minilm-q6", options: { workers: 1 }, goal: 1.8 },
};

/** The brotli of a script or a module, made once. */
async function compressed(path) {
  if (!/\.(m?js|wasm)$/.test(path)) return undefined;
  const bytes = await readFile(join(root, path)).catch(() => undefined);
  if (!bytes) return undefined;
  const kept = join(COMPRESSED, createHash("sha256").update(bytes).digest("hex"));
  const found = await readFile(kept).catch(() => undefined);
  if (found) return found;
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
  const brotli = brotliCompressSync(bytes, { params });
  await mkdir(COMPRESSED, { recursive: true });
  await writeFile(kept, brotli);
  return brotli;
}

// The repository: the authors' files, and exports beside them.
for (const folder of [join(root, "models", MODEL), join(MODELS, MODEL)]) {
  await cp(folder, join(MODELS, "minilm"), { recursive: true });
}
for (const dtype of ["q8", "q6"]) {
  const model = await load(join(root, "models", MODEL), { dtype, saveable: true });
  await saveInto(join(MODELS, `minilm-${dtype}`), model);
  model.dispose();
}
const exact = await load(join(root, "models", MODEL), { dtype: "f32" });
const { data: expected } = await exact.encode("Ships at night");

for (const mbit of speeds.split(",").map(Number)) {
  const link = new Link({ mbit, roundTrip: ROUND_TRIP });
  const server = await serve({ open: OPEN, compressed, through: (origin) => link.to(origin) });
  const endpoint = `${server.origin}/hub`;
  const visit = async (...args) => {
    const { page, close } = await browsers.Chromium.open(`${server.origin}/tests/js/bench/visit.html`);
    try {
      await page.waitForFunction("globalThis.ready");
      const before = link.sent;
      const result = await page.evaluate((args) => globalThis.visit(...args), args);
      return { ...result, bytes: link.sent - before };
    } finally {
      await close();
    }
  };
  const kinds = {
    ...Object.fromEntries(
      Object.entries(OURS).map(([name, { model, options = {} }]) => [
        name,
        ["ours", endpoint, model, options],
      ]),
    ),
    "transformers.js": ["theirs", endpoint, "bench/minilm", "q8"],
  };
  const results = Object.fromEntries(Object.keys(kinds).map((name) => [name, []]));
  // Compressed files are made before anything is timed: the builds of the wasm, and whatever else
  // is asked for.
  for (const name of await readdir(join(root, "pkg/dist/wasm"))) await compressed(`pkg/dist/wasm/${name}`);
  for (const name of isWaterfall ? [] : ["saved in q6, a worker", "transformers.js"])
    await visit(...kinds[name]);
  for (let round = 0; round < Number(rounds); round++) {
    for (const [name, kind] of Object.entries(kinds)) {
      if (isWaterfall && name === "transformers.js") continue;
      results[name].push(await visit(...kind));
    }
  }
  console.log(`${mbit} Mbit/s, ${ROUND_TRIP} ms, ${rounds} rounds`);
  const theirs = results["transformers.js"].map(({ time }) => time);
  const shown = Object.entries(results).filter(([, all]) => all.length > 0);
  console.table(
    shown.map(([name, all]) => ({
      visit: name,
      "seconds, median": Number((median(all.map(({ time }) => time)) / 1000).toFixed(2)),
      "× theirs":
        theirs.length > 0 ? Number(median(theirs.map((time, at) => time / all[at].time)).toFixed(2)) : "",
      goal: OURS[name]?.goal,
      "MB on the link": Number((median(all.map(({ bytes }) => bytes)) / 1e6).toFixed(1)),
      "cosine to f32": Number(dot(all[0].data, expected).toFixed(5)),
      file: all[0].about.files?.join(" "),
    })),
  );
  if (isWaterfall) {
    for (const [name, [{ requests, time } = {}]] of Object.entries(results)) {
      if (!requests) continue;
      const rows = requests
        .sort((a, b) => a.start - b.start)
        .map(({ url, ...times }) => [
          url.slice(server.origin.length).slice(-60),
          ...Object.values(times).map((at) => Math.round(at)),
        ]);
      console.log(name, Math.round(time), "ms; request, begin, first byte, end");
      for (const row of rows)
        console.log(
          row
            .slice(1)
            .map((at) => String(at).padStart(7))
            .join(""),
          row[0],
        );
    }
  }
  await server.close();
  await link.close();
}
process.exit();
