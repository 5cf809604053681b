/**
 * What lasts on the demo page: models and index from visit to visit, exports, long work, slow
 * lines, and the keyboard.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { browsers, missing } from "../support/browsers.mjs";
import { serveDemo, Visitor } from "../support/demo.mjs";
import { sentences } from "../support/sentences.mjs";
import { slowLine } from "../support/slow.mjs";

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

const fixture = (name) => `${demo.address}tests/fixtures/${name}/`;

/** A file of the visitor's disk. */
async function file(name, content) {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

/** A visitor with the tiny models, whose vectors take no time. */
async function visit(browser, ...models) {
  const opened = await browser.open("about:blank");
  const visitor = new Visitor(opened.page);
  await opened.page.goto(`${demo.address}#load`);
  for (const model of models) assert.equal(await visitor.load(fixture(model)), "");
  await visitor.open("search");
  await visitor.until(() => document.querySelector("gossamer-search").indexed);
  return { ...opened, visitor };
}

async function take(visitor, path, name) {
  await visitor.give("documents", path);
  await visitor.until((name) => document.querySelector(".drop strong")?.textContent === name, name);
}

/** Asks, perhaps while the index is being made. */
async function answered(visitor, query) {
  await visitor.fill("query", query);
  await visitor.until((query) => document.querySelector("gossamer-search").answer?.text === query, query);
}

async function ask(visitor, query) {
  await answered(visitor, query);
  return visitor.settled();
}

const state = (page) =>
  page.evaluate(() => {
    const { name, done, spaces } = document.querySelector("gossamer-search").indexed;
    return { name, done, spaces };
  });
const focused = (page) => page.evaluate(() => document.activeElement.outerHTML);
const said = (page, panel) =>
  page.evaluate((panel) => document.querySelector(`[data-panel=${panel}] [role=status]`).textContent, panel);

for (const [name, browser] of Object.entries(browsers)) {
  describe(name, { skip: missing(browser) }, () => {
    test("a reload brings back models and index, until they are deleted", async () => {
      const { page, visitor, close } = await visit(browser, "tiny-bert", "tiny-splade");
      try {
        await take(
          visitor,
          await file("own.txt", "Whales sing.\nTrains run on rails.\nBread rises."),
          "own.txt",
        );
        await visitor.press("Index");
        assert.equal(await visitor.settled(), "");
        await ask(visitor, "who was first");
        const before = await visitor.texts(".ranking.dense li");
        const facts = await state(page);
        assert.deepEqual(facts.done, { dense: 3, sparse: 3 });

        await page.goto("about:blank");
        await page.goto(`${demo.address}#search`);
        await visitor.until(() => document.querySelector("gossamer-search")?.indexed?.name === "own.txt");
        await visitor.until(() => document.querySelectorAll(".chip.dense, .chip.sparse").length === 2);
        assert.deepEqual(await state(page), facts);
        await ask(visitor, "who was first");
        assert.deepEqual(await visitor.texts(".ranking.dense li"), before);
        assert.equal(await visitor.count(".ranking.hybrid:not(.skeleton)"), 1);

        await visitor.open("load");
        await visitor.until(() => document.querySelector("[data-panel=load] .kept li"));
        const kept = await visitor.texts(".kept li");
        assert.isTrue(
          kept.some((row) => /^Index of own\.txt, 3 passages, [\d.]+ kB/i.test(row)),
          kept.join("\n"),
        );
        await visitor.click('.kept [aria-label="Delete the index of own.txt"]');
        await visitor.until(
          () => !document.querySelector("[data-panel=load] .kept")?.innerText.includes("own.txt"),
        );
        for (let models = 2; models > 0; models--) await visitor.press("Unload");

        await page.goto("about:blank");
        await page.goto(`${demo.address}#compare`);
        await page.reload();
        await visitor.see("[data-panel=compare] .wanted");
        assert.equal(
          await page.evaluate(() => document.querySelectorAll(".chip.dense, .chip.sparse").length),
          0,
        );
        await visitor.open("search");
        await visitor.until(() => document.querySelector("gossamer-search")?.indexed);
        assert.equal((await state(page)).name, "Passages of this page");
      } finally {
        await close();
      }
    });

    test("a model of one kind leaves the other kind's index alone", async () => {
      const { page, visitor, close } = await visit(browser, "tiny-bert", "tiny-splade");
      try {
        await visitor.press("Index");
        assert.equal(await visitor.settled(), "");
        await ask(visitor, "who was first");
        const sparse = await visitor.texts(".ranking.sparse li");
        assert.equal(await visitor.load(fixture("tiny-mpnet")), "");
        await visitor.open("search");
        // The new dense model has no vectors yet; the sparse one is searched all the same.
        await ask(visitor, "who was");
        await ask(visitor, "who was first");
        assert.deepEqual(await visitor.texts(".ranking.sparse li"), sparse);
        assert.equal(await visitor.count(".ranking.dense:not(.skeleton)"), 0);
        await visitor.press("Index");
        assert.equal(await visitor.settled(), "");
        assert.deepEqual((await state(page)).done, { dense: 266, sparse: 266 });
        await ask(visitor, "who was first?");
        await ask(visitor, "who was first");
        assert.deepEqual(await visitor.texts(".ranking.sparse li"), sparse);
        assert.equal(await visitor.count(".ranking.dense:not(.skeleton) li"), 10);
      } finally {
        await close();
      }
    });

    test("imports what it has exported, and only the model's own vectors", async () => {
      const { page, visitor, close } = await visit(browser, "tiny-bert", "tiny-splade");
      const exported = (format) =>
        page.evaluate(async (format) => {
          const { index } = document.querySelector("gossamer-search");
          return (await index.export(format, "m")).text();
        }, format);
      try {
        await take(visitor, await file("three.txt", "Whales sing.\nTrains run.\nBread rises."), "three.txt");
        await visitor.press("Index");
        assert.equal(await visitor.settled(), "");
        const jsonl = await exported("jsonl");
        await visitor.click(".corpus > summary");
        await visitor.press("Use the page's passages");
        await visitor.settled();

        await take(visitor, await file("vectors.jsonl", jsonl), "vectors.jsonl");
        assert.equal(await visitor.settled(), "");
        assert.deepEqual((await state(page)).done, { dense: 3, sparse: 3 });
        assert.equal(await exported("jsonl"), jsonl);

        const tei = await file("vectors.json", await exported("tei"));
        await visitor.give("documents", tei);
        await visitor.until(() =>
          document
            .querySelector("[data-panel=search] .message")
            ?.innerText.includes("vectors.json has vectors, but not the texts"),
        );

        const rows = jsonl.trim().split("\n").map(JSON.parse);
        const others = rows.map((row) => ({ ...row, dense: [...row.dense].reverse() }));
        await take(
          visitor,
          await file("others.jsonl", others.map((row) => JSON.stringify(row)).join("\n")),
          "others.jsonl",
        );
        assert.match(
          await visitor.settled(),
          /The dense vectors of others\.jsonl are not .*tiny-bert.*'s, so its texts are embedded again/,
        );
        const anew = (await exported("jsonl")).trim().split("\n").map(JSON.parse);
        assert.deepEqual(anew, rows);
      } finally {
        await close();
      }
    });

    test("refuses what is not text, and reads UTF-16", async () => {
      const { page, visitor, close } = await visit(browser, "tiny-bert");
      try {
        const refused = async (name, content, why) => {
          await visitor.give("documents", await file(name, content));
          await visitor.until(
            (name) => document.querySelector("[data-panel=search] .message")?.innerText.includes(name),
            name,
          );
          assert.match(await visitor.text(".message"), why);
        };
        await refused("photo.txt", Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0, 0, 0xff), /is not text in UTF-8/);
        await refused("zeros.csv", "text\na\0b\n", /is not text in UTF-8/);
        await refused("book.pdf", "%PDF-1.7", /cannot be read: choose a file that ends with \.txt/);
        const utf16 = Buffer.from("\ufefftext\nWhales sing.\nBread rises.\n", "utf16le");
        await take(visitor, await file("excel.csv", utf16), "excel.csv");
        assert.deepEqual(
          await page.evaluate(() => document.querySelector("gossamer-search").texts.passages),
          ["Whales sing.", "Bread rises."],
        );
      } finally {
        await close();
      }
    });

    test("a reranker orders the hits once more", async () => {
      const { page, visitor, close } = await visit(browser, "tiny-bert", "tiny-splade");
      try {
        await visitor.press("Index");
        assert.equal(await visitor.settled(), "");
        await ask(visitor, "who was first");
        assert.match(
          await page.evaluate(() => document.querySelector("[data-panel=search]").innerText),
          /Load a reranker/,
        );
        const [hits] = [
          await page.evaluate(() => document.querySelector("gossamer-search").answer.rankings.hybrid.hits),
        ];
        assert.equal(await visitor.load(fixture("rerankers/bert")), "");
        assert.match((await visitor.texts(".card")).join("\n"), /reranker/);
        await visitor.open("search");
        await visitor.see("[data-panel=search] .ranking.reranked:not(.skeleton) li");
        assert.deepEqual(await visitor.texts(".ranking h3"), [
          "Dense cosine",
          "Hybrid reciprocal rank fusion",
          "Sparse dot product",
          "Reranked score",
        ]);
        const ranked = await page.evaluate(
          () => document.querySelector("gossamer-search").answer.rankings.reranked.hits,
        );
        assert.lengthOf(ranked, 20);
        assert.sameMembers(
          ranked.map(({ document }) => document),
          hits.map(({ document }) => document),
        );
        const scores = ranked.map(({ score }) => score);
        assert.deepEqual(
          scores,
          [...scores].sort((a, b) => b - a),
        );
        assert.isAbove(new Set(scores).size, 10);
        assert.equal(await visitor.count(".ranking.reranked li"), 10);
        assert.match(await visitor.text(".timing"), /· reranking [\d.]+ m?s/);
        assert.match(await said(page, "search"), /10 reranked/);
        if (name === "Chromium") {
          await page.setViewportSize({ width: 390, height: 844 });
          const [inner, outer] = await page.evaluate(() => [
            document.documentElement.scrollWidth,
            document.documentElement.clientWidth,
          ]);
          assert.isAtMost(inner, outer);
        }
      } finally {
        await close();
      }
    });
  });
}

describe("Chromium alone", { skip: missing(browsers.Chromium) }, () => {
  test("2,000 long passages: queries are answered meanwhile, and what was cancelled goes on", async () => {
    const opened = await browsers.Chromium.open("about:blank");
    const { page } = opened;
    const visitor = new Visitor(page);
    try {
      await page.goto(demo.address);
      await visitor.see("[data-panel=search] .ranking.hybrid:not(.skeleton) li");
      visitor.panel = "[data-panel=search]";
      const words = sentences(6000);
      const passages = Array.from({ length: 2000 }, (_, i) => words.slice(i * 3, i * 3 + 14).join(". "));
      await take(visitor, await file("long.json", JSON.stringify(passages)), "long.json");
      await visitor.press("Index");
      await visitor.until(() => document.querySelector("gossamer-search").indexed.done.dense > 0);
      for (const query of ["a star", "a pump", "a ferry"]) {
        await answered(visitor, query);
        assert.isAbove(await visitor.count(".ranking.dense li"), 0);
      }
      assert.match(
        await visitor.text(".indexing"),
        /^\s*[\d,]+ of 2,000, [\d,]+ texts? a second, [\d.,]+ (sec|min) left$/,
      );
      await visitor.press("Cancel");
      assert.equal(await visitor.settled(), "");
      const { done } = await state(page);
      assert.isAbove(done.dense, 0);
      assert.isBelow(done.dense, 2000);
      assert.match(await visitor.text(".indexing"), /of 2,000 passages indexed\.$/);
      // What there is is kept, and the rest is made from there on.
      await page.reload();
      await visitor.until(() => document.querySelector("gossamer-search")?.indexed?.name === "long.json");
      assert.deepEqual((await state(page)).done, done);
      await visitor.until(() => document.querySelectorAll(".chip.dense, .chip.sparse").length === 2);
      await visitor.press("Index");
      await visitor.until(
        (least) => document.querySelector("gossamer-search").indexed.done.dense > least,
        done.dense,
      );
      await visitor.press("Cancel");
      assert.equal(await visitor.settled(), "");
      assert.isAbove((await state(page)).done.dense, done.dense);
    } finally {
      await opened.close();
    }
  });

  test("a model of the Hub comes back from this device, and is not downloaded again unasked", async () => {
    const opened = await browsers.Chromium.open("about:blank");
    const { page } = opened;
    const visitor = new Visitor(page);
    const asked = [];
    page.on("request", (request) => request.url().includes("/hub/") && asked.push(request.url()));
    const anew = async () => {
      await page.goto("about:blank");
      asked.length = 0;
      await page.goto(`${demo.address}#search`);
    };
    try {
      await page.goto(`${demo.address}#load`);
      assert.equal(await visitor.load("org/dense", { endpoint: `${demo.address}hub` }), "");
      assert.isNotEmpty(asked);
      await visitor.see("[data-panel=load] .kept li");

      await anew();
      await visitor.see(".chip.dense");
      assert.isEmpty(asked);

      await visitor.open("load");
      await visitor.until(() => document.querySelectorAll("[data-panel=load] .kept li").length > 0);
      await visitor.press("Delete");
      await visitor.until(() => !document.querySelector("[data-panel=load] .kept li"));
      await anew();
      await visitor.see("[data-panel=search] .message");
      visitor.panel = "[data-panel=search]";
      assert.match(await visitor.text(".message"), /org\/dense.*Try again to download it/s);
      assert.isEmpty(asked);
      await visitor.press("Try again");
      await visitor.see(".chip.dense");
      assert.isNotEmpty(asked);
    } finally {
      await opened.close();
    }
  });

  test("says that the Hub is away, and offers local files", async () => {
    const opened = await browsers.Chromium.open("about:blank");
    const { page } = opened;
    const visitor = new Visitor(page);
    try {
      await page.context().route("https://huggingface.co/**", (route) => route.abort("connectionrefused"));
      await page.goto(`${demo.address}#load`);
      const problem = await visitor.load("org/name");
      assert.match(problem, /The Hugging Face Hub cannot be reached from here.*local files need no Hub/s);
      assert.include(await focused(page), "message");
      await visitor.press("Choose local files");
      assert.include(await focused(page), 'name="folder"');
      assert.equal(await visitor.count("[role=alert] .message"), 0);
    } finally {
      await opened.close();
    }
  });

  test("over a slow line a half's results come first, after its own bytes, and the page is kept last", async () => {
    const line = await slowLine(Number(new URL(demo.address).port), 100e6);
    const opened = await browsers.Chromium.open("about:blank");
    const { page } = opened;
    try {
      const passed = async (selector) => {
        await page.waitForSelector(selector, { timeout: 60_000 });
        const { passed } = line;
        const isKept = await page.evaluate(async () =>
          Boolean(await navigator.serviceWorker.getRegistration()),
        );
        return { passed, isKept };
      };
      const waits = [
        passed(".ranking:is(.dense, .sparse):not(.skeleton) li"),
        passed(".ranking.hybrid:not(.skeleton) li"),
      ];
      await page.goto(`http://127.0.0.1:${line.port}/`);
      const [half, both] = await Promise.all(waits);
      // At 20 Mbit/s these bytes take less than 8 and 16 seconds.
      assert.isBelow(half.passed, 20e6);
      assert.isBelow(both.passed, 40e6);
      assert.isAbove(both.passed - half.passed, 15e6);
      assert.isFalse(half.isKept);
      await page.evaluate(async () => void (await navigator.serviceWorker.ready));
    } finally {
      await opened.close();
      await line.close();
    }
  });

  test("everything can be done with the keyboard alone", async () => {
    const opened = await browsers.Chromium.open("about:blank");
    const { page } = opened;
    const { keyboard } = page;
    /** Tabs to what matches, and fails if that never comes. */
    const tabTo = async (selector, key = "Tab") => {
      for (let steps = 0; steps < 80; steps++) {
        if (await page.evaluate((selector) => document.activeElement.matches(selector), selector)) return;
        await keyboard.press(key);
      }
      assert.fail(`the keyboard does not reach ${selector}; it is at ${await focused(page)}`);
    };
    const focusComesTo = (selector) =>
      page.waitForFunction((selector) => document.activeElement.matches(selector), selector, {
        timeout: 30_000,
      });
    try {
      await page.goto(demo.address);
      await page.waitForSelector(".ranking.hybrid:not(.skeleton) li");
      // Nothing has taken the focus.
      assert.equal(
        await page.evaluate(() => document.activeElement),
        await page.evaluate(() => document.body),
      );

      // A query, and an example.
      await tabTo("[data-panel=search] [name=query]");
      await keyboard.press("Control+A");
      await keyboard.type("harbour at night");
      await page.waitForFunction(
        () => document.querySelector("gossamer-search").answer?.text === "harbour at night",
      );
      assert.match(
        await said(page, "search"),
        /^Results for “harbour at night”: 10 dense, \d+ sparse, 10 hybrid\.$/,
      );
      assert.isTrue(await page.evaluate(() => document.activeElement.matches("[name=query]")));
      await tabTo(".examples button:nth-child(3)");
      await keyboard.press("Space");
      await page.waitForFunction(
        () => document.querySelector("gossamer-search").answer?.text === "why does bread rise?",
      );

      // The visitor's own passages.
      await tabTo(".corpus > summary");
      await keyboard.press("Enter");
      await tabTo("[name=pasted]");
      await keyboard.type("Whales sing.\nTrains run on rails.");
      await tabTo(".corpus form button");
      await keyboard.press("Enter");
      await focusComesTo("[data-panel=search] .corpus + .actions button");
      await keyboard.press("Enter");
      await focusComesTo("[data-panel=search] [name=query]");
      // The query is asked again.
      await page.waitForSelector(".ranking.dense li:last-child:nth-child(2)");

      // The drawer: focus goes in, stays in, and comes back.
      await tabTo("a[href='#load']", "Shift+Tab");
      await keyboard.press("Enter");
      await focusComesTo("[data-panel=load] h2");
      for (let steps = 0; steps < 30; steps++) {
        await keyboard.press("Tab");
        const outside = await page.evaluate(
          () => document.activeElement !== document.body && !document.activeElement.closest("dialog"),
        );
        assert.isFalse(outside, await focused(page));
      }
      await keyboard.press("Escape");
      await focusComesTo("a[href='#load']");
      assert.isFalse(await page.evaluate(() => document.querySelector("dialog").open));

      // Another panel: its heading, its form, its results.
      await tabTo("a[href='#xray']");
      await keyboard.press("Enter");
      await focusComesTo("[data-panel=xray] h2");
      await tabTo("[data-panel=xray] button[type=submit]");
      await keyboard.press("Enter");
      await focusComesTo("[data-panel=xray] .timing");
      assert.match(await said(page, "xray"), /^The score is \d+\.\d{3}: \d+ terms? in common\.$/);

      await tabTo("a[href='#compare']", "Shift+Tab");
      await keyboard.press("Enter");
      await focusComesTo("[data-panel=compare] h2");
      await tabTo("[data-panel=compare] button[type=submit]");
      await keyboard.press("Enter");
      await focusComesTo("[data-panel=compare] .timing");
      assert.equal(await said(page, "compare"), "The similarities of 8 texts.");

      // The rankings of a narrow screen.
      await page.setViewportSize({ width: 390, height: 844 });
      await page.evaluate(() => {
        location.hash = "search";
      });
      await focusComesTo("[data-panel=search] h2");
      await tabTo(".tabs button:last-child");
      await keyboard.press("Enter");
      assert.isTrue(await page.isVisible(".ranking.sparse"));
      assert.isFalse(await page.isVisible(".ranking.hybrid"));
    } finally {
      await opened.close();
    }
  });
});
