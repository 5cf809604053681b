/** Builds and serves the demo page, and drives it as a visitor would, in any of the browsers. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, preview } from "vite";
import { serve } from "./server.mjs";

const root = fileURLToPath(new URL("../../../www", import.meta.url));

/**
 * As `cargo xtask demo` serves it, with the Hub and the fixtures of the test server at the same
 * address.
 */
export async function serveDemo() {
  await build({ root, logLevel: "warn" });
  const hub = await serve();
  // The Hub's other host, where its large files are, is none that the page may ask: it is put under
  // the same address, and told no token, as no other host would be.
  const configure = (proxy) =>
    proxy.on("proxyRes", ({ headers }) => {
      const { location } = headers;
      if (location) headers.location = location.replace(/^http:\/\/[^/]+/, "");
    });
  const passed = { target: hub.origin, configure };
  const proxy = {
    "/cdn": { ...passed, headers: { authorization: "" } },
    "/hub": passed,
    "/stalled": passed,
    "/tests": passed,
  };
  // The page's policy as a header too: workers obey no other.
  const [, policy] = /Content-Security-Policy"\s+content="([^"]+)"/.exec(
    await readFile(join(root, "index.html"), "utf8"),
  );
  const headers = { "content-security-policy": policy };
  const server = await preview({
    root,
    logLevel: "warn",
    preview: { host: "127.0.0.1", port: 0, proxy, headers },
  });
  const close = async () => {
    await server.close();
    await hub.close();
  };
  return { address: server.resolvedUrls.local[0], close };
}

/** Milliseconds after which a page is taken to be stuck. */
const PATIENCE = 30_000;

/** What a visitor does, whichever library drives the browser. */
export class Visitor {
  /** What the console said that it should not. */
  complaints = [];

  constructor(page) {
    this.page = page;
    page.on("console", (message) => {
      if (["error", "warn", "warning"].includes(message.type())) this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
  }

  /** Goes to a panel. */
  async open(panel) {
    await this.page.evaluate((panel) => {
      location.hash = panel;
    }, panel);
    await this.see(`[data-panel=${panel}]:not([hidden]) h2`);
    this.panel = `[data-panel=${panel}]`;
  }

  /** Waits until something is there. */
  see(selector) {
    return this.page.waitForSelector(selector, { timeout: PATIENCE });
  }

  /** Waits until a function of the page is true. */
  until(condition, argument) {
    return this.page.waitForFunction(condition, ...this.#waiting(argument));
  }

  /** The two libraries differ in where options go. */
  #waiting(argument) {
    const options = { timeout: PATIENCE };
    return "context" in this.page ? [argument, options] : [options, argument];
  }

  text(selector) {
    return this.page.evaluate((s) => document.querySelector(s)?.innerText, `${this.panel} ${selector}`);
  }

  texts(selector) {
    return this.page.evaluate(
      (s) => [...document.querySelectorAll(s)].map((element) => element.innerText),
      `${this.panel} ${selector}`,
    );
  }

  count(selector) {
    return this.page.evaluate((s) => document.querySelectorAll(s).length, `${this.panel} ${selector}`);
  }

  /** Types into the panel's field of that name, or chooses from it. */
  async fill(name, value) {
    const selector = `${this.panel} [name=${name}]`;
    await this.until((selector) => document.querySelector(selector), selector);
    await this.page.evaluate(
      ([selector, value]) => {
        const field = document.querySelector(selector);
        const details = field.closest("details");
        if (details) details.open = true;
        field.value = value;
        for (const type of ["input", "change"]) field.dispatchEvent(new InputEvent(type, { bubbles: true }));
      },
      [selector, value],
    );
  }

  /** Ticks the panel's boxes of these values, and no others. */
  tick(...values) {
    return this.page.evaluate(
      ([panel, values]) => {
        for (const box of document.querySelectorAll(`${panel} [type=checkbox]`)) {
          box.checked = values.includes(box.value);
        }
      },
      [this.panel, values],
    );
  }

  async click(selector) {
    await this.see(`${this.panel} ${selector}`);
    await this.page.click(`${this.panel} ${selector}`);
  }

  /** Clicks the button with that text. */
  async press(label) {
    await this.page.evaluate(
      ([panel, label]) => {
        const buttons = [...document.querySelectorAll(`${panel} button`)];
        const button = buttons.find(
          (button) => button.innerText.trim() === label && button.checkVisibility(),
        );
        if (!button) throw new Error(`there is no button ${label}`);
        if (button.disabled) throw new Error(`the button ${label} is disabled`);
        button.click();
      },
      [this.panel, label],
    );
  }

  /** Gives files to the page. */
  async give(name, ...paths) {
    const input = await this.page.$(`${this.panel} input[name=${name}]`);
    if ("setInputFiles" in input) await input.setInputFiles(paths);
    else await input.uploadFile(...paths);
  }

  /** Loads a model by id or address and waits for it, or for an explanation. */
  async load(id, fields = {}) {
    await this.open("load");
    await this.click("input[value=other]");
    await this.fill("id", id);
    for (const [name, value] of Object.entries(fields)) await this.fill(name, value);
    await this.press("Load");
    return this.settled();
  }

  /** Waits until the panel has done what a button asked for; what it complains of. */
  async settled() {
    await this.until((panel) => !document.querySelector(panel).firstElementChild.busy, this.panel);
    return (await this.text("[role=alert] .message")) ?? "";
  }
}
