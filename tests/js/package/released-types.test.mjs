/**
 * The check of a package's types against a released one (support/compare-types.mjs), on copies that
 * break in a known way.
 */

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { brokenTypes } from "../support/compare-types.mjs";
import { root } from "../support/server.mjs";

const today = join(root, "pkg");

describe("types of a release", () => {
  let folder;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "gossamer-released-"));
    await cp(join(today, "dist"), join(folder, "dist"), { recursive: true });
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** What is broken where the release had something more than today. */
  async function withMore(file, was, had) {
    const path = join(folder, "dist", file);
    const text = await readFile(path, "utf8");
    assert.include(text, was);
    await writeFile(path, text.replace(was, had));
    try {
      return (await brokenTypes(folder)).join("\n");
    } finally {
      await writeFile(path, text);
    }
  }

  test("a release breaks nothing of itself", async () => {
    assert.deepEqual(await brokenTypes(folder), []);
  });

  test("a function that is gone", async () => {
    const now = 'export declare const init: EntryPoint["init"];';
    const had = `${now}\nexport declare function gone(): void;`;
    assert.include(await withMore("web.d.ts", now, had), "gone");
  });

  test("a parameter that has become needed", async () => {
    const now = "load: (source: ModelSource,";
    assert.match(
      await withMore("entry-point.d.ts", now, "load: (source?: ModelSource,"),
      /source|ModelSource/,
    );
  });

  test("a method of the embedder that is gone", async () => {
    const now = "export declare class Embedder {";
    const had = `${now}\n    gone(text: string): void;`;
    assert.include(await withMore("embedder.d.ts", now, had), "gone");
  });

  test("an option that is gone", async () => {
    const now = "export interface LoadOptions {";
    assert.include(await withMore("types.d.ts", now, `${now}\n    gone?: boolean;`), "gone");
  });

  test("a type that is gone", async () => {
    const now = "export interface LoadOptions {";
    const had = `export interface Gone {\n    a: string;\n}\n${now}`;
    assert.include(await withMore("types.d.ts", now, had), "Gone");
  });
});
