/** No source file imports itself by way of others: what a file needs can be read before it. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";
import { described, typescriptImports } from "../support/imports.mjs";
import { rustImports } from "../support/rust-imports.mjs";

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

test("no circle among the files of src", () => {
  const graph = rustImports(join(ROOT, "src"));
  assert.isAbove(graph.size, 100);
  assert.isAbove([...graph.values()].flatMap((imports) => [...imports]).length, 300);
  assert.deepEqual(described(graph, ROOT), []);
});

test("circles in Rust are found, whatever the path looks like", async () => {
  const lib = "mod a;\nmod b;\nmod c;\npub use c::C;\n";
  for (const back of [
    "use crate::a::A;",
    "use super::a::A;",
    "use super::a;",
    "use super::{a::{self, A as B}, c::C};",
    "pub(crate) fn f() -> crate::a::A { todo!() }",
    "fn f() { super::a::make(); }",
    "mod deeper { use crate::a::A; }",
    "macro_rules! m { () => { $crate::a::make() } }",
  ]) {
    const files = {
      "lib.rs": lib,
      "a.rs": "use crate::C;\npub struct A;\npub fn make() {}\n",
      "c/mod.rs": "mod d;\npub use d::C;\n",
      "c/d.rs": "use crate::b::f;\npub struct C;\n",
      "b.rs": `${back}\n`,
    };
    const [circle, ...more] = await circlesOf(rustImports, files);
    assert.deepEqual(more, [], back);
    for (const edge of ["a.rs → c/d.rs", "c/d.rs → b.rs", "b.rs → a.rs"]) assert.include(circle, edge, back);
  }
});

test("tests, comments, strings, re-exports and children are no circle in Rust", async () => {
  const files = {
    "lib.rs": "mod a;\nmod b;\npub use a::A;\n#[cfg(test)]\nmod tests;\n",
    "a.rs":
      "use crate::b::B;\n/// Of [`crate::b`].\npub struct A;\n#[cfg(test)]\nmod tests {\n    use super::A;\n}\n",
    "b.rs":
      '// use crate::A;\npub const B: &str = "use crate::a::A; \\" ";\n#[cfg(test)]\nuse crate::a::A;\n',
    "b/part.rs": "use super::B;\n",
    "tests.rs": "use crate::a::A;\n",
  };
  files["b.rs"] += "mod part;\nuse part::C;\n";
  assert.deepEqual(await circlesOf(rustImports, files), []);
});
