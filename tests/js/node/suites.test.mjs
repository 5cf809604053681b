/** A test that is in no suite is an error. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { assert } from "chai";
import { problems } from "../support/suites.mjs";

/** What is said of a repository with these files in tests/js, and these scripts. */
async function said(names, scripts = { "test:one": "node tests/js/run.mjs one" }) {
  const root = await mkdtemp(join(tmpdir(), "gossamer-"));
  try {
    await mkdir(join(root, "tests/js"), { recursive: true });
    await writeFile(join(root, "package.json"), JSON.stringify({ scripts }));
    for (const name of names) {
      const path = join(root, "tests/js", name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, "");
    }
    return problems(join(root, "tests/js"), ["one"]);
  } finally {
    await rm(root, { recursive: true });
  }
}

test("files of a suite, and what is beside them, are as they should be", async () => {
  const templates = ["one/app/src/index.js", "one/package.json", "bench/cpu.mjs", "run.mjs", "types.ts"];
  const installed = ["one/node_modules/a/a.test.mjs", "snippets-x/node_modules/a.test.js"];
  assert.deepEqual(await said(["one/a.test.mjs", ...templates, ...installed]), []);
});

test("a test that no suite has is named", async () => {
  for (const stray of [
    "a.test.mjs",
    "cases/a.test.mjs",
    "two/a.test.mjs",
    "one/deeper/a.test.mjs",
    "one/a.test.js",
    "one/a.test.ts",
    "one/a_test.mjs",
    "one/a.spec.mjs",
    "one/test.mjs",
    "one/a.mjs",
  ]) {
    const [problem, ...more] = await said(["one/b.test.mjs", stray]);
    assert.include(problem, `tests/js/${stray} `);
    assert.deepEqual(more, []);
  }
});

test("a suite without tests, and one without a script, are named", async () => {
  assert.match((await said([])).join(), /tests\/js\/one has no/);
  assert.match((await said(["one/a.test.mjs"], {})).join(), /no script test:one/);
  const wrong = { "test:one": "node tests/js/run.mjs two" };
  assert.match((await said(["one/a.test.mjs"], wrong)).join(), /no script test:one/);
});
