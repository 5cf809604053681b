/** The shared cases in browsers, and: every engine and every wasm build give the same bits. */

import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";
import { topics } from "../cases/all.mjs";
import { browsers, missing } from "../support/browsers.mjs";
import { runJson, runtimes } from "../support/runtimes.mjs";
import { serve } from "../support/server.mjs";

let server;
before(async () => {
  server = await serve();
});
after(() => server.close());

/** What the first engine said; the others must say the same. */
let agreed;
function agree(digests) {
  assert.match(digests.q8, /^[\da-f]{64}$/);
  agreed ??= digests;
  assert.deepEqual(digests, agreed);
}

describe("the same bits in every runtime", () => {
  const script = fileURLToPath(new URL("../support/digests.mjs", import.meta.url));
  for (const [name, command] of Object.entries(runtimes)) {
    // Node 20 has no relaxed SIMD.
    const own = name === `Node ${process.versions.node}`;
    const simd =
      own && Number.parseInt(process.versions.node, 10) < 22 ? ["simd128"] : ["simd128", "relaxed"];
    // What differs between the common and the full build differs in no engine.
    for (const build of own ? simd.flatMap((one) => [one, `common-${one}`]) : simd) {
      test(`${name}, ${build}`, { skip: command ? false : "not installed" }, async () => {
        const { simd, digests } = await runJson(command, script, [server.origin, build]);
        assert.equal(simd, build.endsWith("relaxed") ? "relaxed-simd" : "simd128");
        agree(digests);
      });
    }
  }
});

describe("Chromium with a quota of 50 MB", { skip: missing(browsers.Chromium) }, () => {
  test("keeps what there is room for, and warns of what there is not", async () => {
    const { page, close } = await browsers.Chromium.open(`${server.origin}/tests/js/support/page.html`);
    const session = await page.context().newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: 50e6 });
    const use = (dtype) =>
      page.evaluate(
        async ([endpoint, dtype]) => {
          const { cache, load } = await import("gossamer-embed");
          const warnings = [];
          const onWarning = ({ code }) => warnings.push(code);
          const model = await load("org/minilm", { endpoint, dtype, onWarning });
          const { shape } = await model.encode("Ships at night");
          const cached = await model.cached;
          model.dispose();
          return { cached, warnings, shape, kept: (await cache.list()).map(({ dtype }) => dtype) };
        },
        [`${server.origin}/hub`, dtype],
      );
    // 91 MB.
    const refused = { cached: false, warnings: ["not_cached"], shape: [1, 384], kept: [] };
    assert.deepEqual(await use("f32"), refused);
    // 23 MB.
    const kept = { cached: true, warnings: [], shape: [1, 384], kept: ["q8"] };
    assert.deepEqual(await use("q8"), kept);
    // Both are too much: what was used last stays.
    assert.deepEqual(await use("q4"), { ...kept, kept: ["q4", "q8"] });
    await close();
  });
});

for (const [name, browser] of Object.entries(browsers)) {
  describe(name, { skip: missing(browser) }, () => {
    let opened;
    before(async () => {
      opened = await browser.open(`${server.origin}/tests/js/support/page.html`);
      await opened.page.waitForFunction(() => "runCase" in globalThis);
    });
    after(() => opened?.close());

    for (const [topic, cases] of Object.entries(topics)) {
      describe(topic, () => {
        for (const title of Object.keys(cases)) {
          test(title, async () => {
            const problem = await opened.page.evaluate(
              ([topic, title]) => runCase(topic, title),
              [topic, title],
            );
            if (problem) throw new Error(`in ${name}: ${problem}`);
          });
        }
      });
    }

    describe("several tabs", () => {
      const endpoint = () => `${server.origin}/hub`;
      const log = async (name) => (await fetch(`${endpoint()}/faults/${name}`)).json();
      const total = (rows) => rows.reduce((sum, { sent }) => sum + sent, 0);
      const tab = async () => {
        const page = await opened.another(`${server.origin}/tests/js/support/page.html`);
        await page.waitForFunction(() => "runCase" in globalThis);
        return page;
      };
      /** Loads in a page; `until` bytes of the weights, or to the end. */
      const start = (page, name, until) =>
        page.evaluate(
          async ([name, endpoint, until]) => {
            const { load } = await import("gossamer-embed");
            return new Promise((resolve, reject) => {
              const onProgress = ({ status, file, loaded }) => {
                if (status === "progress" && file === "model.safetensors" && loaded > until) resolve();
              };
              load(name, { endpoint, onProgress }).then(async (model) => {
                const { data } = await model.encode("Ships at night");
                resolve({ cached: await model.cached, data: [...data] });
              }, reject);
            });
          },
          [name, endpoint(), until ?? Number.POSITIVE_INFINITY],
        );

      test("a tab that is closed during a download, and opened again, goes on", async () => {
        await log("closed");
        const page = await tab();
        await start(page, "slow/closed", 50e6);
        await page.close();
        const before = await log("closed");
        assert.isAbove(total(before), 50e6);
        const again = await tab();
        const { cached, data } = await start(again, "slow/closed");
        assert.isTrue(cached);
        assert.lengthOf(data, 384);
        const rows = await log("closed");
        // The tail that is lost: a piece, and what was on its way.
        assert.isAbove(rows[0].from, 40e6);
        assert.isBelow(total(rows), 51e6);
        await again.close();
      });

      test("two tabs that load a model at once download it once", async () => {
        await log("twice");
        const pages = [await tab(), await tab()];
        const [one, two] = await Promise.all(pages.map((page) => start(page, "slow/twice")));
        assert.deepEqual(one, two);
        assert.isTrue(one.cached);
        assert.lengthOf(await log("twice"), 1);
        for (const page of pages) await page.close();
      });
    });

    test("the same bits as elsewhere, in the full build and in the common one", async () => {
      // By now this page has the full build: models of other cases needed it.
      agree(await opened.page.evaluate(() => digests()));
      const page = await opened.another(`${server.origin}/tests/js/support/page.html`);
      await page.waitForFunction(() => "runCase" in globalThis);
      agree(await page.evaluate(() => digests()));
      await page.close();
    });

    test("the entry lean loads by address, and says what it lacks", async () => {
      const { page } = opened;
      const found = await page.evaluate(async (origin) => {
        const { load } = await import("/pkg/dist/lean.js");
        const model = await load(`${origin}/tests/fixtures/tiny-bert/`);
        const { shape } = await model.encode("a cat");
        const store = { get() {}, put() {}, delete() {} };
        const failing = [
          () => load("org/tiny"),
          () => load(`${origin}/tests/fixtures/tiny-bert/`, { revision: "1", cache: store }),
          () => model.fetch("/v1/embeddings"),
          () => model.handler(),
        ];
        const errors = [];
        for (const call of failing) {
          try {
            await call();
          } catch ({ code, message }) {
            errors.push([code, message.includes("import gossamer-embed")]);
          }
        }
        return { shape, cached: await model.cached, errors };
      }, server.origin);
      const errors = ["invalid_source", "invalid_input", "unsupported_runtime", "unsupported_runtime"];
      assert.deepEqual(found, {
        shape: [1, 48],
        cached: false,
        errors: errors.map((code) => [code, true]),
      });
    });

    test("downloads one build of the wasm for a model, and a second one where only its files show that", async () => {
      const { origin } = server;
      const hub = { endpoint: `${origin}/hub`, cache: false };
      const file = "bert-q8_0.gguf";
      for (const [source, options, builds] of [
        [`${origin}/tests/fixtures/tiny-bert/`, {}, ["common"]],
        [`${origin}/tests/fixtures/tiny-bert/`, { workers: 1 }, ["common"]],
        ["org/tiny", hub, ["common"]],
        [`${origin}/tests/fixtures/gguf/`, { file }, ["full"]],
        ["org/gguf", hub, ["full"]],
        ["onnx-community/all-MiniLM-L6-v2-ONNX", hub, ["full"]],
        // A folder that cannot be listed, with a torch checkpoint.
        [`${origin}/torch/`, {}, ["common", "full"]],
        [`${origin}/torch/`, { workers: 1 }, ["common", "full"]],
      ]) {
        const page = await opened.another(`${origin}/tests/js/support/page.html`);
        const asked = [];
        page.on("request", (request) => {
          const { pathname } = new URL(request.url());
          if (pathname.endsWith(".wasm")) asked.push(pathname.includes("/common-") ? "common" : "full");
        });
        await page.evaluate(
          async ([source, options]) => {
            const { load } = await import("gossamer-embed");
            (await load(source, options)).dispose();
          },
          [source, options],
        );
        assert.deepEqual(asked, builds, `${source} ${JSON.stringify(options)}`);
        await page.close();
      }
      // What was made in the full build stays with it, though the cache has it in our own layout.
      for (const visit of ["first", "second"]) {
        const page = await opened.another(`${origin}/tests/js/support/page.html`);
        const asked = [];
        page.on("request", (request) => {
          const { pathname } = new URL(request.url());
          if (pathname.endsWith(".wasm")) asked.push(pathname.includes("/common-") ? "common" : "full");
        });
        const isCached = await page.evaluate(async (endpoint) => {
          const { load } = await import("gossamer-embed");
          return (await load("org/gguf", { endpoint })).cached;
        }, hub.endpoint);
        assert.deepEqual([isCached, asked], [true, ["full"]], visit);
        await page.close();
      }
    });
  });
}
