/**
 * The packed tarball in projects of other people: beside versions of libraries, and under settings
 * of the compiler.
 */

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { embeddingModel } from "gossamer-embed/adapters/ai-sdk";
import { GossamerEmbeddings } from "gossamer-embed/adapters/langchain";
import { run } from "../support/child.mjs";
import { TINY } from "../support/models.mjs";
import { root } from "../support/server.mjs";
import { pack, tools } from "../support/tarball.mjs";

const TEXTS = ["a cat", "the dog sat"];

let folder;
let tarball;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gossamer-"));
  tarball = await pack(folder);
});
after(() => rm(folder, { recursive: true, force: true }));

/** Runs a command in a folder. */
const runIn = (cwd, command, args) => run(command, args, { cwd });

test("installs beside any version of the libraries that adapters are for", async () => {
  const app = join(folder, "beside");
  await mkdir(app);
  await writeFile(join(app, "package.json"), JSON.stringify({ name: "app", private: true }));
  // npm compares names and versions, so packages without contents do, and no registry is needed.
  for (const [name, versions] of Object.entries({
    ai: ["4.3.19", "5.0.100", "6.0.0", "7.0.0", "8.0.0"],
    "@langchain/core": ["0.3.80", "1.0.0", "2.0.0-beta.1"],
    chromadb: ["2.4.6", "3.0.0"],
    "@orama/orama": ["2.0.0"],
    "@llamaindex/core": ["0.5.0"],
    "@pinecone-database/pinecone": ["4.0.0"],
    "@qdrant/js-client-rest": ["1.2.0"],
  })) {
    for (const version of versions) {
      const stub = join(folder, "stubs", name);
      await mkdir(stub, { recursive: true });
      await writeFile(join(stub, "package.json"), JSON.stringify({ name, version }));
      const install = ["install", "--offline", "--no-audit", "--no-fund", "--install-links", stub, tarball];
      await runIn(app, "npm", install);
      const installed = async (name) =>
        JSON.parse(await readFile(join(app, "node_modules", name, "package.json"), "utf8"));
      assert.equal((await installed(name)).version, version);
      assert.equal((await installed("gossamer-embed")).name, "gossamer-embed");
    }
  }
});

test("can be required", async () => {
  const app = join(folder, "commonjs");
  await mkdir(app);
  await writeFile(join(app, "package.json"), JSON.stringify({ name: "app", private: true }));
  await runIn(app, "npm", ["install", "--offline", "--no-audit", "--no-fund", tarball]);
  const script = `
    const { load } = require("gossamer-embed");
    const { GossamerEmbeddings } = require("gossamer-embed/adapters/langchain");
    load(${JSON.stringify(root + TINY)}).then(async (embedder) => {
      console.log((await new GossamerEmbeddings(embedder).embedQuery("a cat")).length);
    });`;
  const { stdout } = await runIn(app, process.execPath, ["--eval", script]);
  assert.equal(stdout.trim(), "48");
});

describe("adapters serve older versions", () => {
  const require = createRequire(join(tools, "../peers/package.json"));
  const api = (name) => import(pathToFileURL(require.resolve(name)));
  let model;
  let expected;
  before(async () => {
    model = await load(root + TINY);
    expected = (await model.encode(TEXTS)).toList();
  });
  after(() => model.dispose());

  for (const [version, specificationVersion] of [
    [4, "v1"],
    [5, "v2"],
    [6, "v3"],
  ]) {
    test(`ai ${version}`, async () => {
      const { embed, embedMany } = await api(`ai-${version}`);
      const options = { specificationVersion, task: "document" };
      const { embeddings, usage } = await embedMany({
        model: embeddingModel(model, options),
        values: TEXTS,
      });
      assert.deepEqual(embeddings, expected);
      assert.isAbove(usage.tokens, 0);
      const { embedding } = await embed({ model: embeddingModel(model, options), value: TEXTS[1] });
      assert.deepEqual(embedding, expected[1]);
      const abortSignal = AbortSignal.abort();
      const call = embed({ model: embeddingModel(model, options), value: TEXTS[1], abortSignal });
      assert.equal((await call.catch((error) => error)).name, "AbortError");
    });
  }

  test("@langchain/core 0.3", async () => {
    const { FakeVectorStore } = await api("@langchain/core/utils/testing");
    const store = await FakeVectorStore.fromTexts(TEXTS, [{}, {}], new GossamerEmbeddings(model));
    assert.lengthOf(await store.similaritySearch("a cat", 1), 1);
  });
});

describe("TypeScript", () => {
  const CODE = `
    import { GossamerError, load, serve, type Embedder, type LoadOptions } from "gossamer-embed";
    import { embeddingModel } from "gossamer-embed/adapters/ai-sdk";
    import { denseFunction } from "gossamer-embed/adapters/chroma";
    import { GossamerEmbeddings } from "gossamer-embed/adapters/langchain";
    import { oramaPlugin } from "gossamer-embed/adapters/orama";
    import { pgvectorSparse } from "gossamer-embed/adapters/pgvector";
    import { pineconeSparse } from "gossamer-embed/adapters/pinecone";
    import { qdrantVectors } from "gossamer-embed/adapters/qdrant";
    import { semanticEmbedder } from "gossamer-embed/adapters/semantic-embedder";
    import { load as inline } from "gossamer-embed/inline";
    export async function main(options: LoadOptions): Promise<Embedder> {
      const embedder: Embedder = await load("org/name", options);
      const lists: number[][] = (await embedder.encode("a")).toList();
      const version: "v2" = embeddingModel(embedder, { specificationVersion: "v2" }).specificationVersion;
      const found: number[] = await new GossamerEmbeddings(embedder).embedQuery("a");
      const error: unknown = await inline("org/name").catch((error) => error);
      if (error instanceof GossamerError) console.log(error.code);
      console.log(lists, version, found, serve({ models: { a: "org/name" } }), denseFunction(load));
      console.log(oramaPlugin(embedder, { from: [] }), pgvectorSparse, pineconeSparse, qdrantVectors({}));
      console.log(semanticEmbedder({ load }, "org/name"));
      // @ts-expect-error: there is no such option.
      await load("org/name", { quantised: true });
      return embedder;
    }`;
  const compilers = {
    7: `${root}node_modules/typescript/bin/tsc`,
    6: join(tools, "node_modules/typescript/bin/tsc"),
  };
  let app;
  before(async () => {
    app = join(folder, "typescript");
    await mkdir(app);
    await writeFile(
      join(app, "package.json"),
      JSON.stringify({ name: "app", private: true, type: "module" }),
    );
    await runIn(app, "npm", ["install", "--offline", "--no-audit", "--no-fund", tarball]);
    for (const name of ["@types/node", "undici-types", "@cloudflare/workers-types"]) {
      await cp(`${root}node_modules/${name}`, join(app, "node_modules", name), { recursive: true });
    }
    const console = "declare const console: { log(...values: unknown[]): void };\n";
    await writeFile(join(app, "bare.ts"), console + CODE);
    for (const name of ["main.ts", "main.cts"]) await writeFile(join(app, name), CODE);
  });

  for (const [version, compiler] of Object.entries(compilers)) {
    const bundler = { module: "esnext", moduleResolution: "bundler" };
    for (const [name, file, options] of [
      ["node16, CommonJS", "main.cts", { module: "node16", types: ["node"] }],
      ["node16, ES modules", "main.ts", { module: "node16", types: ["node"] }],
      ["nodenext, CommonJS", "main.cts", { module: "nodenext", types: ["node"] }],
      ["bundler, browsers", "main.ts", { ...bundler, lib: ["es2022", "dom"] }],
      ["bundler, Cloudflare", "main.ts", { ...bundler, types: ["@cloudflare/workers-types"] }],
      ["no declarations of a platform", "bare.ts", { module: "nodenext" }],
    ]) {
      test(`${version}: ${name}`, async () => {
        const strict = { strict: true, noEmit: true, skipLibCheck: false, lib: ["es2022"], types: [] };
        const config = { compilerOptions: { ...strict, ...options }, files: [file] };
        await writeFile(join(app, "tsconfig.json"), JSON.stringify(config));
        await runIn(app, process.execPath, [compiler, "-p", "."]);
      });
    }
  }
});
