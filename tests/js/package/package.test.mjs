/** The packed tarball, installed in an empty folder, in every runtime that is there. */

import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { parseAst } from "rolldown/parseAst";
import { host, topics } from "../cases/all.mjs";
import { run } from "../support/child.mjs";
import { runJson, runtimes } from "../support/runtimes.mjs";
import { root, serve } from "../support/server.mjs";
import { pack } from "../support/tarball.mjs";

/** What a user would write. */
const SCRIPT = `
import { GossamerError, load } from "gossamer-embed";
const embedder = await load("./model");
const { data, shape } = await embedder.encode(["a cat", "the dog sat"]);
const { data: answer } = await embedder.embeddings.create({ input: "a cat" });
// Nobody disposes of the pool: the process ends all the same.
const pool = await load("./model", { workers: 2 });
const pooled = await pool.encode(["a cat", "the dog sat"]);
const error = await load("./nowhere").catch((error) => error);
console.log(JSON.stringify({
  simd: embedder.info.simd,
  shape,
  vectors: Array.from(data),
  workers: pool.info.workers,
  pooled: Array.from(pooled.data),
  answer: answer[0].embedding,
  error: error instanceof GossamerError && error.code,
}));
embedder.dispose();
`;

let folder;
let expected;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gossamer-"));
  const tarball = await pack(folder);
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ name: "user", private: true, type: "module" }),
  );
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball], { cwd: folder });
  await cp(`${root}tests/fixtures/tiny-bert`, join(folder, "model"), { recursive: true });
  await writeFile(join(folder, "main.mjs"), SCRIPT);
  // The cases, which import the package by its name, and what they say it with.
  for (const name of ["tests/js/cases", "tests/js/support", "node_modules/chai"]) {
    await cp(root + name, join(folder, name), { recursive: true });
  }
});
after(() => rm(folder, { recursive: true, force: true }));

/** Whether code reads `import.meta` when it runs, leaving out the functions that it makes. */
function readsMeta(node) {
  if (typeof node !== "object" || node === null || /Function/.test(node.type)) return false;
  return node.type === "MetaProperty" || Object.values(node).some(readsMeta);
}

describe("the packed tarball", () => {
  test("holds what it needs and nothing else", async () => {
    const installed = join(folder, "node_modules/gossamer-embed");
    const files = (await readdir(installed, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(installed.length + 1));
    assert.includeMembers(files, [
      "package.json",
      "README.md",
      "LICENSE-APACHE",
      "LICENSE-MIT",
      "THIRD-PARTY-NOTICES.txt",
      "dist/web.js",
      "dist/web.d.ts",
      "dist/inline.js",
      "dist/lean.js",
      "dist/node.js",
      "dist/worker.js",
      "dist/node-worker.js",
      "dist/workerd.js",
      "dist/cjs/web.d.ts",
      "dist/cjs/package.json",
      "dist/wasm/gossamer.d.ts",
      "dist/wasm/bindings.d.ts",
      "dist/wasm/inline.js",
      "dist/wasm/simd128.wasm",
      "dist/wasm/relaxed.wasm",
      "dist/wasm/common-simd128.wasm",
      "dist/wasm/common-relaxed.wasm",
    ]);
    for (const file of files)
      assert.match(
        file,
        /^((dist\/cjs\/)?package\.json|README\.md|LICENSE-(MIT|APACHE)|THIRD-PARTY-NOTICES\.txt|dist\/.+\.(js|js\.map|d\.ts|wasm))$/,
      );
    const manifest = JSON.parse(await readFile(join(installed, "package.json"), "utf8"));
    for (const kind of ["dependencies", "peerDependencies", "optionalDependencies"])
      assert.notProperty(manifest, kind);
    for (const script of ["preinstall", "install", "postinstall"])
      assert.notProperty(manifest.scripts ?? {}, script);
    const targets = (value) => (typeof value === "string" ? [value] : Object.values(value).flatMap(targets));
    for (const target of targets(manifest.exports).filter((target) => !target.includes("*"))) {
      assert.include(files, target.slice(2));
    }
  });

  test("its wasm has no paths of the machine that built it", async () => {
    for (const name of ["simd128", "relaxed", "common-simd128", "common-relaxed"].map(
      (build) => `${build}.wasm`,
    )) {
      const wasm = await readFile(join(folder, "node_modules/gossamer-embed/dist/wasm", name), "latin1");
      // What paths are cut down to.
      assert.include(wasm, "crates/serde_json-");
      for (const path of [homedir(), root.replace(/\/$/, ""), ".cargo", "registry/src", ".rustup"]) {
        assert.isFalse(wasm.includes(path), `${name} has ${path}`);
      }
    }
  });

  test("its code has nothing that bundlers and workers refuse", async () => {
    const dist = join(folder, "node_modules/gossamer-embed/dist");
    const files = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith(".js"));
    assert.isAbove(files.length, 10);
    for (const file of files) {
      const text = await readFile(join(dist, file), "utf8");
      const code = text.replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, "");
      assert.notMatch(code, /\bimport\s*\(|\beval\s*\(|\bnew Function\b|\busing \w+ =|^await /m, file);
      assert.isFalse(readsMeta(parseAst(text)), `${file} reads import.meta as it is loaded`);
    }
  });

  for (const [name, command] of Object.entries(runtimes)) {
    test(`embeds in ${name}`, { skip: command ? false : "not installed" }, async () => {
      const { simd, ...result } = await runJson(command, "main.mjs", [], { cwd: folder });
      assert.deepEqual(result.shape, [2, 48]);
      assert.deepEqual(result.answer, result.vectors.slice(0, 48));
      assert.equal(result.error, "not_found");
      assert.equal(result.workers, 2);
      assert.deepEqual(result.pooled, result.vectors);
      expected ??= result;
      assert.deepEqual(result, expected);
      assert.equal(simd, name.startsWith("Node 20") ? "simd128" : "relaxed-simd");
    });
  }

  // They wait for their servers most of the time.
  describe("passes the shared cases", { concurrency: true }, () => {
    for (const [name, command] of Object.entries(runtimes)) {
      // The Node that runs this has run them from the sources.
      if (command?.[0] === process.execPath) continue;
      test(`in ${name}`, { skip: command ? false : "not installed" }, async () => {
        const env = { ...process.env, HF_HOME: join(folder, `cache of ${name}`) };
        const script = join(folder, "tests/js/support/run-cases.mjs");
        const { origin, close } = await serve();
        try {
          // Node 24's engine and Deno's are of its kind, and its bits are compared in
          // browsers.test.mjs.
          const chosen = name === "Node 26" ? host : Object.keys(topics);
          const args = [origin, "all", chosen.join()];
          const { passed, failures } = await runJson(command, script, args, { cwd: folder, env });
          assert.deepEqual(failures, {});
          const count = (topic) => Object.keys(topics[topic]).length;
          assert.equal(
            passed,
            chosen.reduce((sum, topic) => sum + count(topic), 0),
          );
        } finally {
          await close();
        }
      });
    }
  });

  test("its wasm files can be imported by name", async () => {
    const script = `console.log(JSON.stringify(["simd128", "relaxed"].map((name) =>
      import.meta.resolve(\`gossamer-embed/wasm/\${name}.wasm\`))))`;
    await writeFile(join(folder, "resolve.mjs"), script);
    const [simd128] = await runJson([process.execPath], "resolve.mjs", [], { cwd: folder });
    assert.match(simd128, /gossamer-embed\/dist\/wasm\/simd128\.wasm$/);
  });
});
