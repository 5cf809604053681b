/** No source file imports itself by way of others: what a file needs can be read before it. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";
import { described, typescriptImports } from "../support/imports.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** The circles among files that are given by path and code, as `read` reads their imports. */
async function circlesOf(read, files) {
  const root = await mkdtemp(join(tmpdir(), "gossamer-"));
  try {
    for (const [name, code] of Object.entries(files)) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await writeFile(join(root, name), code);
    }
    return described(read(root), root);
  } finally {
    await rm(root, { recursive: true });
  }
}

for (const folder of ["pkg/src", "www/src"]) {
  test(`no circle among the files of ${folder}`, () => {
    const graph = typescriptImports(join(ROOT, folder));
    assert.isAbove(graph.size, 20);
    assert.isAbove([...graph.values()].flatMap((imports) => [...imports]).length, 20);
    assert.deepEqual(described(graph, ROOT), []);
  });
}

test("circles in TypeScript are found, whatever the import looks like", async () => {
  for (const back of [
    'import { a } from "./a.js";',
    'import type { A } from "./a.js";',
    'import {\n  a,\n  b,\n} from "./a.js";',
    'import "./a.js";',
    'export * from "./a.js";',
    'export type { A } from "../x/a.js";',
    'const a = await import("./a.js");',
  ]) {
    const files = {
      "x/a.ts": 'import { c } from "../c.js";\n',
      "c.ts": 'import { b } from "./x/b.js";\n',
      "x/b.ts": `${back}\n`,
      "x/alone.ts": 'import { a } from "./a.js";\n',
    };
    const [circle, ...more] = await circlesOf(typescriptImports, files);
    assert.deepEqual(more, []);
    for (const edge of ["x/a.ts → c.ts", "c.ts → x/b.ts", "x/b.ts → x/a.ts"])
      assert.include(circle, edge, back);
    assert.notInclude(circle, "alone");
  }
});

test("comments, packages and files of other kinds are no circle", async () => {
  const files = {
    "a.ts": 'import { b } from "./b.js";\nimport wasm from "./a.wasm";\n',
    "b.ts": '// import { a } from "./a.js";\n/* import "./a.js"; */\nimport { a } from "a";\n',
  };
  assert.deepEqual(await circlesOf(typescriptImports, files), []);
});
