/**
 * How the demo page looks and feels: accessible, steady, never stuck, at any width, light and dark.
 * Chromium only.
 */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import { assert } from "chai";
import { browsers, missing } from "../support/browsers.mjs";
import { serveDemo, Visitor } from "../support/demo.mjs";
import { sentences } from "../support/sentences.mjs";

const SCREENSHOTS = fileURLToPath(new URL("../../../target/demo-screenshots/", import.meta.url));
/** The one of the README; `GOSSAMER_README_SCREENSHOT=1` takes it again. */
const README = fileURLToPath(new URL("../../../www/screenshot.png", import.meta.url));
const PANELS = ["load", "compare", "xray", "search", "bench", "code"];
const SCHEMES = ["light", "dark"];

describe("the looks of the demo page", { skip: missing(browsers.Chromium) }, () => {
  let demo;
  let opened;
  let page;
  let visitor;
  let folder;
  before(async () => {
    demo = await serveDemo();
    folder = await mkdtemp(join(tmpdir(), "gossamer-demo-"));
    await mkdir(SCREENSHOTS, { recursive: true });
    opened = await browsers.Chromium.open("about:blank");
    page = opened.page;
    visitor = new Visitor(page);
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.addInitScript(() => {
      globalThis.shifts = [];
      globalThis.longTasks = [];
      new PerformanceObserver((list) => {
        for (const { hadRecentInput, sources } of list.getEntries()) {
          if (!hadRecentInput)
            globalThis.shifts.push(...sources.map(({ node }) => node?.outerHTML ?? node?.data));
        }
      }).observe({ type: "layout-shift", buffered: true });
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) globalThis.longTasks.push(Math.round(entry.duration));
      }).observe({ type: "longtask", buffered: true });
    });
    await page.goto(demo.address);
  });
  after(async () => {
    await opened?.close();
    await demo?.close();
    if (folder) await rm(folder, { recursive: true });
  });

  /** Opens the page as at a first visit, but for what is cached. */
  async function visitAnew(place = "") {
    await page.evaluate(async () => {
      localStorage.clear();
      await caches.delete("gossamer-index");
    });
    await page.goto(demo.address + place);
    await page.reload();
  }

  test("nothing moves while the first results arrive", async () => {
    await visitor.see("[data-panel=search] .ranking.hybrid:not(.skeleton) li");
    await page.waitForTimeout(500);
    const shifts = await page.evaluate(() => globalThis.shifts);
    // Results take the place of others within their columns, and so do the names of the models; all
    // else stays.
    const others = shifts.filter(
      (html) => !/class="(passage|chip|bone|ranking|term)|^[^<]/.test(html ?? "<"),
    );
    assert.deepEqual(others, []);
  });

  test("nothing moves while a model loads", async () => {
    await page.goto(`${demo.address}#load`);
    await page.reload();
    await visitor.open("load");
    // A click of a real pointer: what it moves at once may move.
    await page.click("[data-panel=load] button[type=submit]");
    assert.equal(await visitor.settled(), "");
    await page.waitForTimeout(500);
    const shifts = await page.evaluate(() => globalThis.shifts);
    // The names of the models of the last visit, which are loaded meanwhile.
    assert.deepEqual(
      shifts.filter((html) => !/^<span class="chip/.test(html)),
      [],
    );
  });

  test("the page is never blocked for 50 ms while thousands of passages are read and indexed", async () => {
    const file = join(folder, "many.jsonl");
    const passages = sentences(3000).map((text) => JSON.stringify({ text }));
    await writeFile(file, passages.join("\n"));
    /** Indexes, asks, and tells how long the page was blocked each time that it was. */
    const blocked = async () => {
      await visitAnew("#load");
      await visitor.open("load");
      await visitor.press("Load");
      assert.equal(await visitor.settled(), "");
      await visitor.open("search");
      await visitor.until(() => document.querySelector("gossamer-search").indexed);
      await page.waitForTimeout(200);
      await page.evaluate(() => {
        globalThis.longTasks = [];
      });
      await visitor.give("documents", file);
      await visitor.until(() => document.querySelector(".drop strong")?.textContent === "many.jsonl");
      await visitor.press("Index");
      await visitor.until(() =>
        document.querySelector("[data-panel=search] .indexing")?.textContent.includes("2,"),
      );
      assert.equal(await visitor.settled(), "");
      assert.equal(
        await page.evaluate(() => document.querySelector("gossamer-search").indexed.done.dense),
        3000,
      );
      await visitor.fill("query", "a ship at night");
      await visitor.see("[data-panel=search] .ranking.dense li");
      return page.evaluate(() => globalThis.longTasks);
    };
    // What the page does it does each time; other processes that take its processor away come and
    // go.
    let times = await blocked();
    for (let round = 1; round < 3 && times.length > 0; round++) times = await blocked();
    assert.deepEqual(times, []);
  });

  describe("each panel", () => {
    before(async () => {
      await visitAnew();
      await visitor.see("[data-panel=search] .ranking.hybrid:not(.skeleton) li");
      await visitor.open("compare");
      await visitor.press("Compare");
      await visitor.settled();
      await visitor.open("xray");
      await visitor.press("X-ray");
      await visitor.settled();
      await visitor.open("search");
      await visitor.click(".corpus > summary");
      await visitor.fill("query", "how do birds find their way?");
      await visitor.see("[data-panel=search] .ranking.dense li");
      await visitor.open("bench");
      await visitor.tick("q8", "1");
      await visitor.press("Measure");
      await visitor.settled();
      // Away from the plots, whose tips are Observable Plot's own.
      await page.mouse.move(0, 0);
      await page.evaluate(axe.source);
    });

    if (process.env.GOSSAMER_README_SCREENSHOT) {
      after(async () => {
        await page.emulateMedia({ colorScheme: "light" });
        await page.setViewportSize({ width: 1100, height: 900 });
        await visitAnew();
        await visitor.see("[data-panel=search] .ranking.hybrid:not(.skeleton) li");
        await page.screenshot({ path: README });
      });
    }

    for (const panel of PANELS) {
      for (const scheme of SCHEMES) {
        test(`${panel} in the ${scheme}: axe finds nothing, nothing overflows, and here is its picture`, async () => {
          await page.emulateMedia({ colorScheme: scheme });
          await visitor.open(panel);
          // A drawer that is still opening is half transparent.
          await page.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished)));
          for (const width of [390, 820, 1280]) {
            await page.setViewportSize({ width, height: 900 });
            const { violations } = await page.evaluate(() => globalThis.axe.run());
            assert.deepEqual(
              violations.map(({ id, nodes }) => [
                id,
                ...nodes.map(({ html, failureSummary }) => html + failureSummary),
              ]),
              [],
            );
            const [inner, outer] = await page.evaluate(() => [
              document.documentElement.scrollWidth,
              document.documentElement.clientWidth,
            ]);
            assert.isAtMost(inner, outer);
            await page.screenshot({
              path: join(SCREENSHOTS, `${panel}-${width}-${scheme}.png`),
              fullPage: true,
            });
          }
        });
      }
    }
  });
});
