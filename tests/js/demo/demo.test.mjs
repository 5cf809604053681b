/**
 * The demo page as a visitor uses it: each panel, with the real MiniLM and a tiny sparse model, in
 * workers.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";
import { browsers, missing } from "../support/browsers.mjs";
import { serveDemo, Visitor } from "../support/demo.mjs";

const fixture = (name) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const MINILM = "sentence-transformers/all-MiniLM-L6-v2";

let demo;
let folder;
before(async () => {
  demo = await serveDemo();
  folder = await mkdtemp(join(tmpdir(), "gossamer-demo-"));
});
after(async () => {
  await demo?.close();
  if (folder) await rm(folder, { recursive: true });
});

for (const [name, browser] of Object.entries(browsers)) {
  describe(name, { skip: missing(browser) }, () => {
    let opened;
    let visitor;
    before(async () => {
      opened = await browser.open("about:blank");
      visitor = new Visitor(opened.page);
      await opened.page.goto(`${demo.address}#load`);
      await visitor.open("load");
    });
    after(() => opened?.close());

    describe("load", () => {
      test("says that there is no GPU to use, and needs no SharedArrayBuffer", async () => {
        await visitor.until(() => !document.querySelector("#gpu").innerText.includes("looking"));
        assert.match(await visitor.text("#gpu"), /\d+ cores?; GPU: none: .*WebGPU/);
        assert.isTrue(
          await opened.page.evaluate(() => document.querySelector("option[value=webgpu]").disabled),
        );
        assert.equal(await opened.page.evaluate(() => typeof SharedArrayBuffer), "undefined");
      });

      test("explains a model that the Hub does not have", async () => {
        const problem = await visitor.load("org/nothing", { endpoint: `${demo.address}hub` });
        assert.match(problem, /org\/nothing.*not found.*Check the model's name.*\(not_found\)/s);
        assert.equal(await visitor.count(".card"), 0);
      });

      test("explains a gated model, and loads it with a token", async () => {
        const endpoint = `${demo.address}hub`;
        const problem = await visitor.load("org/private", { endpoint });
        assert.match(problem, /401.*gated: accept its terms.*enter an access token under “More options”/s);
        assert.equal(await visitor.load("org/private", { endpoint, token: "secret" }), "");
        await visitor.press("Unload");
        assert.equal(await visitor.count(".card"), 0);
        for (const field of ["endpoint", "token"]) await visitor.fill(field, "");
      });

      test("explains files that are no model", async () => {
        await visitor.click("input[value=files]");
        await visitor.press("Load");
        assert.match(await visitor.settled(), /There are no files yet/);
        await visitor.give("files", fixture("README.md"));
        await visitor.until(() => document.querySelector(".drop").innerText.includes("README.md: 1 file"));
        await visitor.press("Load");
        assert.match(await visitor.settled(), /has no config\.json.*\(missing_file\)/s);
      });

      test("stops when told to", async () => {
        await visitor.click("input[value=other]");
        await visitor.fill("id", `${demo.address}stalled/`);
        await visitor.press("Load");
        await visitor.until(() =>
          document.querySelector("[data-panel=load] .files")?.innerText.includes("model.safetensors"),
        );
        await visitor.press("Cancel");
        assert.equal(await visitor.settled(), "");
        assert.equal(await visitor.count(".progress"), 0);
        assert.equal(await visitor.count(".card"), 0);
      });

      test("loads the default model, with progress for each file, and says what it is", async () => {
        await visitor.click(`input[value="${MINILM}"]`);
        await opened.page.evaluate(() => {
          const panel = document.querySelector("[data-panel=load]");
          globalThis.progress = [];
          new MutationObserver(() => {
            const text = panel.querySelector(".progress")?.innerText;
            if (text) globalThis.progress.push(text);
          }).observe(panel, { subtree: true, childList: true, characterData: true });
        });
        await visitor.press("Load");
        assert.equal(await visitor.settled(), "");
        const progress = (await opened.page.evaluate(() => globalThis.progress)).join("\n");
        for (const part of ["tokenizer.json", "model.safetensors", "MB of 91", "MB/s", "left"]) {
          assert.include(progress, part);
        }
        const card = await visitor.text(".card");
        for (const part of [MINILM, "bert", "384", "256 tokens", "22.6M", "q8", "2 workers", "SIMD", "CPU"]) {
          assert.include(card, part);
        }
        assert.match(
          await opened.page.evaluate(() => document.querySelector(".loaded").innerText),
          /all-MiniLM-L6-v2, 2\d/,
        );
      });

      test("loads a sparse model beside it", async () => {
        // Firefox's driver gives no folders to a page.
        if (name === "Firefox") {
          assert.equal(await visitor.load(`${demo.address}tests/fixtures/tiny-splade/`), "");
        } else {
          await visitor.click("input[value=files]");
          await visitor.give("folder", fixture("tiny-splade"));
          await visitor.until(() => document.querySelector(".drop").innerText.includes("tiny-splade: "));
          await visitor.press("Load");
          assert.equal(await visitor.settled(), "");
        }
        const cards = await visitor.texts(".card");
        assert.lengthOf(cards, 2);
        assert.match(cards[1], /tiny-splade[\s\S]*sparse[\s\S]*172/);
      });
    });

    describe("compare", () => {
      before(() => visitor.open("compare"));

      test("shows which texts are alike", async () => {
        await visitor.press("Compare");
        assert.equal(await visitor.settled(), "");
        assert.match(await visitor.text(".timing"), /^8 texts in .+ each, [\d,]+ tokens a second/);
        await visitor.click("summary");
        const similarity = (await visitor.texts(".similarities tbody tr")).map((row) =>
          row.split("\t").slice(1).map(Number),
        );
        assert.lengthOf(similarity, 8);
        similarity.forEach((row, i) => {
          assert.equal(row[i], 1);
        });
        // Two cats, two markets, two loaves, two harbours; and a cat is no market.
        for (const i of [0, 2, 4, 6]) assert.isAbove(similarity[i][i + 1], 0.35);
        assert.isBelow(similarity[0][2], 0.2);
      });

      test("draws the pairs, and a map where what is alike is near", async () => {
        const cells = await visitor.count("figure:first-child rect");
        assert.equal(cells, 64);
        const places = await opened.page.evaluate(() =>
          [...document.querySelectorAll("[data-panel=compare] figure:nth-child(2) circle")].map((dot) => [
            dot.cx.baseVal.value,
            dot.cy.baseVal.value,
          ]),
        );
        assert.lengthOf(places, 8);
        const distance = (i, j) => Math.hypot(places[i][0] - places[j][0], places[i][1] - places[j][1]);
        for (const i of [0, 2]) assert.isBelow(distance(i, i + 1), distance(i, i + 4) / 2);
      });

      test("asks for two texts", async () => {
        await visitor.fill("texts", "alone");
        await visitor.press("Compare");
        assert.match(await visitor.settled(), /write at least two texts/);
      });
    });

    describe("sparse X-ray", () => {
      before(() => visitor.open("xray"));

      test("shows terms, where they come from, and what makes the score", async () => {
        await visitor.fill("query", "who was first");
        await visitor.fill("document", "the first cafe");
        await visitor.press("X-ray");
        assert.equal(await visitor.settled(), "");
        const [query, document, shared] = await visitor.texts("figcaption");
        assert.match(query, /^Query \d+ terms$/);
        assert.match(document, /^Document \d+ terms$/);
        const [score] = /(?<=What makes the score )[\d.]+/.exec(shared);
        const terms = await opened.page.evaluate(() =>
          [...document.querySelectorAll("[data-panel=xray] figure")].map((figure) =>
            [...figure.querySelectorAll("li")].map((item) => item.textContent),
          ),
        );
        assert.isTrue(terms[0].some((term) => /^who [\d.]+, in the text$/.test(term)));
        assert.isTrue(terms[1].some((term) => /added by the model$/.test(term)));
        const weight = (list, term) =>
          Number(
            list
              .find((entry) => entry.startsWith(`${term} `))
              ?.split(" ")[1]
              .replace(",", ""),
          );
        // Each bar is a product, and the bars make the score.
        const product = weight(terms[0], "who") * weight(terms[1], "who");
        assert.closeTo(weight(terms[2], "who"), product, 0.01 * product);
        const sum = terms[2].reduce((sum, term) => sum + Number(term.split(" ")[1].replace(",", "")), 0);
        assert.isAtMost(sum, Number(score) * 1.01);
        assert.isAbove(sum, Number(score) * 0.8);
        assert.equal(await visitor.count("figure:first-child rect"), terms[0].length);
      });

      test("asks for both texts", async () => {
        await visitor.fill("document", " ");
        await visitor.press("X-ray");
        assert.match(await visitor.settled(), /write a query and a document/);
      });
    });

    describe("search", () => {
      const ask = async (query) => {
        await visitor.fill("query", query);
        await visitor.until(
          (query) => document.querySelector("gossamer-search").answer?.text === query,
          query,
        );
        await visitor.settled();
      };
      const index = async () => {
        await visitor.press("Index");
        assert.equal(await visitor.settled(), "");
      };

      before(async () => {
        await visitor.open("search");
        await visitor.until(() => document.querySelector("gossamer-search").indexed);
        // The vectors of the dense model came with the page, so only the other's are made.
        assert.match(await visitor.text(".timing"), /^266 passages, indexed when this page was built/);
        await index();
      });

      test("indexes the page's passages and finds them as one types", async () => {
        assert.match(await visitor.text(".timing"), /^266 passages indexed in .*: [\d,]+ texts a second/);
        await ask("how do birds find their way?");
        const titles = await visitor.texts(".ranking h3");
        assert.deepEqual(titles, ["Dense cosine", "Hybrid reciprocal rank fusion", "Sparse dot product"]);
        const [best] = await visitor.texts(".ranking.dense li .passage");
        assert.include(best, "Migrating birds steer");
        // Meaning is no matter of single words.
        assert.equal(await visitor.count(".ranking.dense mark"), 0);
        for (const score of await visitor.texts(".ranking.dense .score")) assert.match(score, /^0\.\d{3}$/);
        assert.equal(await visitor.count(".ranking.dense li"), 10);
        assert.match(
          await visitor.text(".timing"),
          /^dense query .*s(ec)? · sparse query .* · dense search .* · sparse search .* · fusion /,
        );
      });

      test("adds sparse scores up from terms, and hybrid ones from ranks", async () => {
        const answer = await opened.page.evaluate(() => document.querySelector("gossamer-search").answer);
        for (const { score, terms } of answer.rankings.sparse.hits) {
          const sum = terms.reduce((sum, { share }) => sum + share, 0);
          assert.closeTo(score, sum, 1e-4);
        }
        const scores = answer.rankings.hybrid.hits.map(({ score }) => score);
        assert.deepEqual(
          scores,
          [...scores].sort((a, b) => b - a),
        );
        for (const score of scores) assert.isAtMost(score, 2 / 61);
        assert.isAbove(await visitor.count(".ranking.sparse .term"), 10);
      });

      test("keeps only the passages in sight in the document", async () => {
        await visitor.click(".corpus > summary");
        await visitor.click(".corpus details summary");
        await visitor.until(() => document.querySelectorAll(".browse .passage").length > 3);
        assert.isBelow(await visitor.count(".browse .passage"), 60);
        await opened.page.evaluate(() => document.querySelector(".browse").scrollTo(0, 1e6));
        await visitor.until(() => document.querySelector(".browse").innerText.includes("Prune apple trees"));
      });

      test("exports vectors", async () => {
        const files = await opened.page.evaluate(async () => {
          const index = document.querySelector("gossamer-search").index;
          const read = async (format) => (await index.export(format, "minilm")).text();
          const formats = ["jsonl", "openai", "tei", "teiSparse", "chroma", "inworld"];
          return Object.fromEntries(
            await Promise.all(formats.map(async (format) => [format, await read(format)])),
          );
        });
        const rows = files.jsonl.trim().split("\n").map(JSON.parse);
        assert.lengthOf(rows, 266);
        assert.include(rows[0].text, "Swallows");
        const { data, object, model, usage } = JSON.parse(files.openai);
        assert.deepEqual([object, model, data[265].index], ["list", "minilm", 265]);
        assert.isAbove(usage.total_tokens, 266);
        const tei = JSON.parse(files.tei);
        assert.deepEqual([tei[3].length, tei[3]], [384, rows[3].dense]);
        assert.deepEqual(data[3].embedding, tei[3]);
        assert.deepEqual(JSON.parse(files.inworld).embeddings[3].values, tei[3]);
        const { indices, values } = rows[3].sparse;
        assert.deepEqual(JSON.parse(files.chroma).embeddings[3], { indices, values });
        assert.deepEqual(JSON.parse(files.teiSparse)[3][0], { index: indices[0], value: values[0] });
      });

      test("says what is wrong with a file", async () => {
        const broken = join(folder, "broken.jsonl");
        await writeFile(broken, '{"text": "one"}\n{"text": two}\n');
        await visitor.give("documents", broken);
        await visitor.until(() => document.querySelector("[data-panel=search] .message"));
        assert.match(
          await visitor.text(".message"),
          /Line 2 of broken\.jsonl is not JSON.*Correct or remove it/s,
        );
      });

      test("refuses other files in words", async () => {
        await visitor.give("documents", fixture("minilm.safetensors"));
        await visitor.until(() =>
          document.querySelector("[data-panel=search] .message")?.innerText.includes("minilm.safetensors"),
        );
        assert.match(await visitor.text(".message"), /cannot be read: choose a file that ends with \.txt/);
      });

      test("cancel keeps what was indexed, and queries are answered meanwhile", async () => {
        const many = join(folder, "many.json");
        const texts = Array.from({ length: 4000 }, (_, at) => `Ship number ${at} comes home to its harbour.`);
        await writeFile(many, JSON.stringify(texts));
        await visitor.give("documents", many);
        await visitor.until(() => document.querySelector(".drop strong")?.textContent === "many.json");
        await visitor.press("Index");
        await visitor.until(() => {
          const { indexing, indexed } = document.querySelector("gossamer-search");
          return indexing !== undefined && indexed.done.dense > 0 && indexed.done.sparse > 0;
        });
        await visitor.fill("query", "a vessel");
        await visitor.until(() => document.querySelector("gossamer-search").answer?.text === "a vessel");
        assert.match(await visitor.text(".indexing"), /of 4,000, .* texts a second, .* left/);
        await visitor.press("Cancel");
        await visitor.settled();
        const done = await opened.page.evaluate(() => document.querySelector("gossamer-search").indexed.done);
        assert.isBelow(done.dense, 4000);
        await ask("coming home");
        assert.equal(await visitor.count(".ranking.dense li"), 10);
      });

      for (const [file, content] of Object.entries({
        "own.txt": "Whales sing.\nTrains run on rails.",
        "own.md": "# Whales sing.\n\nTrains run\non rails.",
        "own.json": '[{"text": "Whales sing."}, "Trains run on rails."]',
        "own.jsonl": '{"id": 7, "text": "Whales sing."}\n{"id": 8, "text": "Trains run on rails."}\n',
        "own.csv": 'id,note,text\n1,"a, b","Whales sing."\n2,,"Trains ""run"" on rails."\n',
      })) {
        test(`searches a visitor's ${file}`, async () => {
          await writeFile(join(folder, file), content);
          await visitor.give("documents", join(folder, file));
          await visitor.until((file) => document.querySelector(".drop strong")?.textContent === file, file);
          await index();
          await ask("locomotive");
          const found = await visitor.texts(".ranking.dense li .passage");
          assert.lengthOf(found, 2);
          assert.match(found[0], /^Trains\s"?run"?\son rails\.$/);
        });
      }

      test("searches what is pasted", async () => {
        await visitor.fill("pasted", "A loaf of bread\nA glass of milk");
        await visitor.press("Take these texts");
        await visitor.until(() => document.querySelector(".drop strong")?.textContent === "Pasted texts");
        await index();
        await ask("something to drink");
        assert.equal((await visitor.texts(".ranking.dense li .passage"))[0], "A glass of milk");
      });
    });

    describe("bench", () => {
      test("measures on this machine", async () => {
        await visitor.open("bench");
        await visitor.tick("q8", "1");
        await visitor.press("Measure");
        assert.equal(await visitor.settled(), "");
        const [row, ...others] = await visitor.texts("tbody tr");
        assert.isEmpty(others);
        assert.match(row, /^q8\t1\t.+s(ec)?\t.+ MB\t.+ms\t[\d.]+$/);
        assert.equal(await visitor.count(".bench-plot rect"), 1);
      });
    });

    describe("code", () => {
      test("shows what the page did", async () => {
        await visitor.open("code");
        const [page, worker, openai] = await visitor.texts("pre");
        assert.include(page, `await load("${MINILM}", { workers: 2 })`);
        assert.include(worker, "export default serve(");
        assert.include(openai, "fetch: embedder.fetch");
      });
    });

    test("asks nobody but its own host, and breaks no rule of its policy", async () => {
      const hosts = await opened.page.evaluate(() =>
        performance.getEntriesByType("resource").map((entry) => new URL(entry.name).origin),
      );
      assert.deepEqual([...new Set(hosts)], [new URL(demo.address).origin]);
      // What the browser itself says of the errors above, and of the missing GPU.
      const expected = /Failed to load resource|No available adapters/;
      assert.deepEqual(
        visitor.complaints.filter((text) => !expected.test(text)),
        [],
      );
    });

    test("shows what it keeps, and deletes it", async () => {
      await visitor.open("load");
      await visitor.until(() => document.querySelector("[data-panel=load] .kept li"));
      const kept = await visitor.texts(".kept li");
      assert.isTrue(kept.some((row) => /all-MiniLM-L6-v2, q8, 2\d.* MB/.test(row)));
      await visitor.press("Delete");
      await visitor.until(
        (before) => document.querySelectorAll("[data-panel=load] .kept li").length < before,
        kept.length,
      );
    });

    test("explains a host that its policy forbids", async () => {
      const problem = await visitor.load("https://models.example/minilm/");
      assert.match(problem, /This page may only ask its own host and huggingface\.co/);
    });
  });
}

test("Chromium: a model on a GPU", { skip: missing(browsers.Chromium) }, async () => {
  const { page, close } = await browsers.Chromium.open("about:blank", ["--enable-unsafe-webgpu"]);
  try {
    const visitor = new Visitor(page);
    await page.goto(`${demo.address}#load`);
    await visitor.open("load");
    await visitor.until(() => document.querySelector("option[value=webgpu]")?.disabled === false);
    const options = { device: "webgpu", workers: "1" };
    assert.equal(await visitor.load(`${demo.address}tests/fixtures/tiny-bert/`, options), "");
    assert.match(await visitor.text(".card"), /Device\s+WebGPU/);
    await visitor.open("code");
    const [code] = await visitor.texts("pre");
    assert.include(code, 'device: "webgpu"');
  } finally {
    await close();
  }
});

test("Chromium: a disk with no room for the model", { skip: missing(browsers.Chromium) }, async () => {
  const { page, close } = await browsers.Chromium.open("about:blank");
  try {
    const visitor = new Visitor(page);
    const session = await page.context().newCDPSession(page);
    await page.goto(`${demo.address}#load`);
    const { origin } = new URL(demo.address);
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 10e6 });
    await visitor.open("load");
    await visitor.press("Load");
    assert.equal(await visitor.settled(), "");
    // It can be used all the same.
    assert.include(await visitor.text(".card"), MINILM);
    await visitor.see("[data-panel=load] [role=status] .message");
    const warning = await visitor.text("[role=status] .message");
    assert.match(warning, /could not be kept.*Free some storage.*\(not_cached\)/s);
    assert.equal(await visitor.count(".kept li"), 0);
  } finally {
    await close();
  }
});

for (const [name, browser] of Object.entries(browsers)) {
  test(`${name}: measures transformers.js beside ours, and keeps nothing of it`, {
    skip: missing(browser),
  }, async () => {
    const opened = await browser.open("about:blank");
    try {
      const { page } = opened;
      const visitor = new Visitor(page);
      const asked = [];
      page.on("request", (request) => asked.push(new URL(request.url())));
      const peers = () => asked.filter(({ pathname }) => /peer-worker|ort-wasm|\.onnx$/.test(pathname));
      await page.goto(`${demo.address}#load`);
      const endpoint = `${demo.address}hub`;
      const measure = async (...ticked) => {
        await visitor.open("bench");
        await visitor.tick(...ticked);
        await visitor.press("Measure");
        return visitor.settled();
      };

      // Its ONNX export is as private as the model.
      assert.equal(await visitor.load("org/private", { endpoint, token: "secret" }), "");
      await visitor.open("bench");
      assert.isEmpty(peers());

      assert.equal(await measure("q4", "1", "transformers.js"), "");
      const rows = await visitor.texts("tbody tr");
      const figures = /\t1\t[\d.]+ ?m?s(ec)?\t([\d.]+ MB|–)\t([\d.]+) ?ms\t([\d.,]+)$/;
      assert.deepEqual(
        rows.map((row) => row.replace(figures, "")),
        ["q4", "q8", "transformers.js q8"],
      );
      const [, ours, theirs] = rows.map((row) => {
        const [, , memory, single, texts] = figures.exec(row);
        return { memory, single: Number(single), texts: Number(texts.replace(",", "")) };
      });
      assert.deepEqual([ours.memory === "–", theirs.memory], [false, "–"]);
      assert.equal(await visitor.count(".bench-plot rect"), 3);
      const said =
        /^By turns, in q8 on one thread each, Gossamer is ([\d.,]+) times as fast as transformers\.js 4\.[\d.]+ \(org\/private\) for one text, and ([\d.,]+) times in batches of 32\.$/;
      const [, , batch] = said.exec(await visitor.text(".ratios"));
      // The ratio is a median of its own, over rounds in which the machine may have been busy.
      const ratio = ours.texts / theirs.texts;
      assert.isAbove(Number(batch.replace(",", "")), ratio / 2);
      assert.isBelow(Number(batch.replace(",", "")), ratio * 2);
      assert.sameMembers(
        [...new Set(peers().map(({ pathname }) => pathname.replace(/-[\w-]{8}\./, ".")))],
        [
          "/assets/peer-worker.js",
          "/assets/ort-wasm-simd-threaded.wasm",
          "/hub/org/private/resolve/main/onnx/model_quantized.onnx",
          "/cdn/org/private/onnx/model_quantized.onnx",
        ],
      );
      const kept = await page.evaluate(async () => {
        await navigator.serviceWorker.ready;
        const stores = await Promise.all((await caches.keys()).map((key) => caches.open(key)));
        return (await Promise.all(stores.map((store) => store.keys()))).flat().map(({ url }) => url);
      });
      assert.isTrue(kept.some((url) => url.includes("assets/bench-")));
      assert.isEmpty(kept.filter((url) => /peer-worker|ort-wasm|onnx/.test(url)));

      // One that has no ONNX export, after all else was measured.
      assert.equal(await visitor.load("org/dense", { endpoint, token: "" }), "");
      const none =
        /^transformers\.js finds no ONNX model in 8 bits at (\S+)\. Could not locate file: "(.+)"\.$/;
      const [, id, missed] = none.exec(await measure("q8", "1", "transformers.js"));
      assert.deepEqual(
        [id, missed],
        ["org/dense", `${endpoint}/org/dense/resolve/main/onnx/model_quantized.onnx`],
      );
      assert.lengthOf(await visitor.texts("tbody tr"), 1);
      assert.equal(await visitor.count(".ratios"), 0);

      // The default model's is in another repository, which is the Hub's affair whatever the page
      // comes with.
      await visitor.open("load");
      await visitor.click(`input[value="${MINILM}"]`);
      await visitor.fill("endpoint", endpoint);
      await visitor.press("Load");
      assert.equal(await visitor.settled(), "");
      assert.match(
        await measure("transformers.js"),
        /no ONNX model in 8 bits at Xenova\/all-MiniLM-L6-v2\. /,
      );

      assert.equal(await visitor.load(`${demo.address}tests/fixtures/tiny-bert/`), "");
      assert.match(await measure("transformers.js"), /takes its models from the Hub.*by its Hub id/);

      const hosts = asked.filter(({ protocol }) => protocol !== "data:").map(({ origin }) => origin);
      assert.deepEqual([...new Set(hosts)], [new URL(demo.address).origin]);
      assert.deepEqual(
        visitor.complaints.filter((text) => !/Failed to load resource|No available adapters/.test(text)),
        [],
      );
    } finally {
      await opened.close();
    }
  });
}

for (const [name, browser] of Object.entries(browsers)) {
  test(`${name}: a first visitor sees hybrid results without a click, and later without a network`, {
    skip: missing(browser),
  }, async () => {
    const place = await serveDemo();
    const opened = await browser.open("about:blank");
    try {
      const visitor = new Visitor(opened.page);
      const results = async () => {
        await visitor.see("[data-panel=search] .ranking.hybrid:not(.skeleton) li");
        visitor.panel = "[data-panel=search]";
        const [best] = await visitor.texts(".ranking.hybrid li .passage");
        assert.include(best, "Migrating birds steer");
      };
      await opened.page.goto(place.address);
      await results();
      await visitor.press("harbour at night");
      await visitor.until(
        () => document.querySelector("gossamer-search").answer?.text === "harbour at night",
      );
      // The sparse model is a real one: it adds words that others use for the same thing.
      const terms = (await visitor.texts(".ranking.sparse .term.added")).join(" ");
      assert.match(terms, /\b(harbor|ship|ships|sail|boat|dock|port)\b/);
      // Both are written when they have all of their 31 MB: what is on its way is in the list
      // already.
      await visitor.until(async () => {
        const { usage = 0 } = await navigator.storage.estimate();
        return usage > 30e6;
      });
      await new Promise((done) => setTimeout(done, 2000));
      await visitor.open("load");
      await visitor.until(() => document.querySelectorAll("[data-panel=load] .kept li").length === 2);
      await opened.page.evaluate(async () => void (await navigator.serviceWorker.ready));
      await place.close();

      // A page's address without a panel is the search.
      await opened.page.evaluate(() => {
        location.hash = "";
      });
      await opened.page.reload();
      await results();
    } finally {
      await opened.close();
      // Closing twice is an error that no one needs to hear of.
      await place.close().catch(() => {});
    }
  });

  test(`${name}: after the first visit everything works without a network`, {
    skip: missing(browser),
  }, async () => {
    const place = await serveDemo();
    const opened = await browser.open("about:blank");
    try {
      const visitor = new Visitor(opened.page);
      await opened.page.goto(`${place.address}#load`);
      await visitor.open("load");
      await visitor.press("Load");
      assert.equal(await visitor.settled(), "");
      await visitor.see("[data-panel=load] .kept li");
      await opened.page.evaluate(async () => void (await navigator.serviceWorker.ready));
      await place.close();

      await opened.page.reload();
      await visitor.open("load");
      await visitor.press("Load");
      assert.equal(await visitor.settled(), "");
      assert.include(await visitor.text(".card"), MINILM);
      await visitor.open("compare");
      await visitor.press("Compare");
      assert.equal(await visitor.settled(), "");
      assert.equal(await visitor.count("figure:first-child rect"), 64);
      await visitor.open("search");
      // The passages' vectors were kept with the page.
      await visitor.until(() => document.querySelector("gossamer-search").indexed);
      await visitor.fill("query", "how do birds find their way?");
      await visitor.see("[data-panel=search] .ranking.dense li");
      for (const panel of ["xray", "bench", "code"]) await visitor.open(panel);
      await visitor.open("bench");
      await visitor.tick("transformers.js");
      await visitor.press("Measure");
      assert.match(await visitor.settled(), /transformers\.js did not start: it is not kept on this device/);

      await visitor.open("load");
      await visitor.press("Unload");
      await visitor.press("Delete");
      await visitor.until(() => !document.querySelector("[data-panel=load] .kept li"));
      assert.equal(await visitor.settled(), "");
      await visitor.press("Load");
      assert.match(await visitor.settled(), /\((network|offline)\)/);
    } finally {
      await opened.close();
      // Closing twice is an error that no one needs to hear of.
      await place.close().catch(() => {});
    }
  });
}
