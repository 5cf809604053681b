/** What a release must hold to, besides that it works. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { assert } from "chai";
import { run } from "../support/child.mjs";
import { root } from "../support/server.mjs";
import { size, ways } from "../support/size.mjs";
import { pack, tools } from "../support/tarball.mjs";

const require = createRequire(join(tools, "package.json"));

describe("the package", () => {
  let folder;
  let tarball;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "gossamer-"));
    tarball = await pack(folder);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  test("publint has nothing to say", async () => {
    const { publint } = await import(pathToFileURL(require.resolve("publint")));
    const bytes = await readFile(tarball);
    const { messages } = await publint({ pack: { tarball: bytes.buffer }, level: "warning", strict: true });
    // `require` has CommonJS declarations of an ES module, which Node 20.19 and later can require.
    const expected = ({ code, path }) => code === "EXPORTS_TYPES_INVALID_FORMAT" && path.at(-1) === "require";
    assert.deepEqual(
      messages.filter((message) => !expected(message)),
      [],
    );
  });

  test("every resolution of modules finds its types (are-the-types-wrong)", async () => {
    const attw = join(tools, "node_modules/@arethetypeswrong/cli/dist/index.js");
    // As for publint: that Node could not require an ES module, and that its declarations are for
    // `require`.
    const rules = ["--ignore-rules", "cjs-resolves-to-esm", "false-cjs"];
    await run(process.execPath, [attw, tarball, "--profile", "node16", ...rules]);
  });

  test("names the crates that the wasm is made of, with their licences", async () => {
    const notices = await readFile(`${root}pkg/THIRD-PARTY-NOTICES.txt`, "utf8");
    const [list, ...licences] = notices.split(`\n${"-".repeat(80)}\n`);
    const crates = [...list.matchAll(/^(\S+ \d\S+) \(.+\), /gm)].map(([, crate]) => crate);
    assert.isAbove(crates.length, 20);
    const lock = await readFile(`${root}Cargo.lock`, "utf8");
    for (const crate of crates) {
      const [name, version] = crate.split(" ");
      assert.include(lock, `name = "${name}"\nversion = "${version}"\n`);
      const texts = licences.filter((text) => text.split(":\n")[0].split(", ").includes(crate));
      assert.isAbove(texts.join("").length, 500, crate);
    }
    for (const name of ["serde_json", "wgpu", "wasm-bindgen"])
      assert.isTrue(
        crates.some((crate) => crate.startsWith(`${name} `)),
        name,
      );
    const [, unpacker] = /^(fzstd \S+) \(MIT\)$/m.exec(list);
    const texts = licences.filter((text) => text.split(":\n")[0].split(", ").includes(unpacker));
    assert.include(texts.join(""), "MIT License");
  });

  for (const [way, { most, files }] of Object.entries(ways())) {
    test(`${way}: at most ${most / 1000} KB before the model`, (context) => {
      const { brotli } = size("pkg/dist", files);
      context.diagnostic(`${brotli} bytes`);
      assert.isAtMost(brotli, most);
    });
  }
});
