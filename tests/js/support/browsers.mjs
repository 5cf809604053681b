/** Starts browsers and opens a page. */

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

/**
 * As root, and without a word to the outside. `CHROMIUM_FLAGS` has more, such as those that WebGPU
 * on a card needs.
 */
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  ...(process.env.CHROMIUM_FLAGS?.split(" ") ?? []),
];

/**
 * Name → `{ path, open }`; `open(url, flags)`, flags for Chromium alone, gives
 * `{ page, another, close }`: `another(url)` opens one more tab. `page.evaluate` is the same for
 * both.
 */
export const browsers = {
  Chromium: {
    path: process.env.CHROMIUM ?? "/usr/bin/chromium",
    async open(url, flags = []) {
      const args = [...CHROMIUM_FLAGS, ...flags];
      const browser = await chromium.launch({ executablePath: this.path, args });
      const context = await browser.newContext();
      return tabs(await context.newPage(), () => context.newPage(), browser, url);
    },
    /** A context of Playwright, with a profile of its own. */
    openWithExtension(profile, extension) {
      const loading = [`--disable-extensions-except=${extension}`, `--load-extension=${extension}`];
      const args = [...CHROMIUM_FLAGS, ...loading];
      const ignoreDefaultArgs = ["--disable-extensions"];
      return chromium.launchPersistentContext(profile, {
        executablePath: this.path,
        args,
        ignoreDefaultArgs,
      });
    },
  },
  Firefox: {
    path: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    async open(url) {
      // Some cases take minutes on a slow machine.
      const browser = await puppeteer.launch({
        browser: "firefox",
        executablePath: this.path,
        protocolTimeout: 0,
      });
      return tabs(await browser.newPage(), () => browser.newPage(), browser, url);
    },
  },
};

async function tabs(page, open, browser, url) {
  const visit = async (page, url) => {
    await page.goto(url);
    return page;
  };
  await visit(page, url);
  return { page, another: async (url) => visit(await open(), url), close: () => browser.close() };
}

/**
 * Why a browser cannot be tested here, if it cannot. `GOSSAMER_BROWSERS=required` makes that an
 * error.
 */
export function missing({ path }) {
  if (existsSync(path)) return false;
  if (process.env.GOSSAMER_BROWSERS === "required") throw new Error(`there is no browser at ${path}`);
  return `there is no browser at ${path}`;
}
