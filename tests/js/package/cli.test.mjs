/** `gossamer-embed`, the command of the packed tarball, in every runtime that is there. */

import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { launch, listen, run } from "../support/child.mjs";
import { MINILM, SPLADE, TINY } from "../support/models.mjs";
import { runJson, runtimes } from "../support/runtimes.mjs";
import { saveInto } from "../support/save.mjs";
import { root, serve } from "../support/server.mjs";
import { pack } from "../support/tarball.mjs";

const TEXTS = ["a cat", "the dog sat on the mat", "", "ships at night, and 灯台"];

let folder;
let server;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gossamer-"));
  server = await serve();
  const tarball = await pack(folder);
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "user", private: true }));
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball], { cwd: folder });
  await cp(root + TINY, join(folder, "model"), { recursive: true });
  await cp(root + SPLADE, join(folder, "splade"), { recursive: true });
});
after(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

const NODE = [process.execPath];

/** Runs the command. With `fails`, its error's code and text, else what it prints. */
async function command(args, { runtime = NODE, fails = false, ...options } = {}) {
  const [path, ...first] = runtime;
  const script = join(folder, "node_modules/gossamer-embed/dist/cli.js");
  const env = { ...process.env, HF_HOME: join(folder, "cache"), ...options.env };
  const running = run(path, [...first, script, ...args], { cwd: folder, ...options, env });
  if (!fails) return (await running).stdout;
  const error = await running.then(
    ({ stdout }) => assert.fail(`it did not fail, and printed ${stdout}`),
    (error) => error,
  );
  return { code: error.code, stderr: error.stderr, stdout: error.stdout };
}

const lines = (text) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));

/** All files of a folder with their bytes. */
async function contents(path) {
  const found = {};
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath ?? entry.path, entry.name);
    found[file.slice(path.length + 1)] = (await readFile(file)).toString("base64");
  }
  return found;
}

for (const [name, runtime] of Object.entries(runtimes)) {
  describe(name, { skip: runtime ? false : "not installed" }, () => {
    const slug = name.replaceAll(/\W+/g, "-");

    test("quantize writes the files of save(), and no others", async () => {
      for (const [dtype, shard, more] of [
        ["q8", undefined, []],
        ["q4", 64 * 1024, ["--shard", "64KiB"]],
      ]) {
        const expected = join(folder, `expected-${slug}-${dtype}`);
        const model = await load(join(root, TINY), { dtype, saveable: true });
        await saveInto(expected, model, { shard });
        // A folder that is not there yet, in one that is not.
        const output = join(`made-by-${slug}`, dtype);
        const args = ["quantize", "model", "--dtype", dtype, "-o", output, ...more];
        const printed = await command(args, { runtime });
        assert.match(
          printed,
          new RegExp(`^${output}: \\d+ files, [\\d.]+ KiB; \\d+ parameters in ${dtype}\n$`),
        );
        assert.deepEqual(await contents(join(folder, output)), await contents(expected));
        const again = await load(join(folder, output));
        assert.deepEqual(await again.encode(TEXTS), await model.encode(TEXTS));
        for (const one of [model, again]) one.dispose();
      }
      assert.sameMembers(await readdir(join(folder, `made-by-${slug}`)), ["q8", "q4"]);
    });

    test("embed writes what encode gives, for arguments and for lines", async () => {
      const model = await load(join(root, TINY));
      const { tokens, truncated, ...encoded } = await model.encode(TEXTS, { promptName: "query" });
      const rows = (await model.encode(TEXTS, { promptName: "query" })).toList();
      assert.isAbove(encoded.data.length, 0);
      const expected = TEXTS.map((_, index) => ({
        index,
        embedding: rows[index],
        tokens: tokens[index],
        truncated: truncated[index],
      }));
      const options = ["--prompt-name", "query"];
      assert.deepEqual(
        lines(await command(["embed", "model", ...options, "--", ...TEXTS], { runtime })),
        expected,
      );
      const input = `${TEXTS.join("\n")}\n`;
      assert.deepEqual(lines(await command(["embed", "model", ...options], { runtime, input })), expected);
      model.dispose();

      const splade = await load(join(root, SPLADE));
      const [vector] = await splade.encodeSparse(TEXTS[1], { topK: 3, labels: true, task: "query" });
      splade.dispose();
      const sparse = ["embed", "splade", "--top-k", "3", "--labels", "--task", "query", TEXTS[1]];
      assert.deepEqual(lines(await command(sparse, { runtime })), [
        { index: 0, indices: [...vector.indices], values: [...vector.values], labels: vector.labels },
      ]);
    });

    test("info says what would be loaded", async () => {
      const info = JSON.parse(await command(["info", "model"], { runtime }));
      const script =
        'import { load } from "gossamer-embed"; console.log(JSON.stringify((await load("./model")).info));';
      await writeFile(join(folder, "info.mjs"), script);
      const loaded = await runJson(runtime, "info.mjs", [], { cwd: folder });
      for (const field of [
        "family",
        "kind",
        "dimensions",
        "maxTokens",
        "parameters",
        "weightBytes",
        "dtype",
      ]) {
        assert.equal(info[field], loaded[field], field);
      }
      assert.isAtLeast(info.memoryBytes, info.weightBytes);
      const weights = info.files.filter(({ isWeights }) => isWeights);
      assert.deepEqual(
        weights.map(({ path }) => path),
        ["model.safetensors"],
      );
      for (const { path, bytes } of info.files)
        assert.equal((await stat(join(root, TINY, path))).size, bytes);
      assert.equal(
        info.bytes,
        info.files.reduce((sum, { bytes }) => sum + bytes, 0),
      );
      // Of a saved model too, and in another format.
      const saved = JSON.parse(await command(["info", join(`made-by-${slug}`, "q4")], { runtime }));
      assert.equal(saved.dtype, "q4");
      assert.isAbove(saved.files.filter(({ isWeights }) => isWeights).length, 1);
    });

    test("an existing output is refused, and left as it is", async () => {
      await mkdir(join(folder, slug, "folder"), { recursive: true });
      await writeFile(join(folder, slug, "file"), "a");
      await symlink("nowhere", join(folder, slug, "link"));
      for (const taken of ["folder", "file", "link"]) {
        const output = join(slug, taken);
        const args = ["quantize", "model", "--dtype", "q8", "--output", output];
        const { code, stderr } = await command(args, { runtime, fails: true });
        assert.equal(code, 1);
        assert.equal(stderr, `gossamer-embed: ${output} is there already: name a folder that is not\n`);
      }
      const below = join(slug, "file", "model");
      const { stderr } = await command(["quantize", "model", "--dtype", "q8", "-o", below], {
        runtime,
        fails: true,
      });
      assert.include(stderr, `${below} cannot be written: `);
      assert.sameMembers(await readdir(join(folder, slug)), ["folder", "file", "link"]);
      assert.equal(await readFile(join(folder, slug, "file"), "utf8"), "a");
      assert.deepEqual(await readdir(join(folder, slug, "folder")), []);
    });

    test("wrong arguments and models are errors in words", async () => {
      for (const [args, code, ...words] of [
        [[], 2, "requires a subcommand", "quantize, embed, info"],
        [["serve"], 2, "unrecognized subcommand 'serve'"],
        [["quantize", "model"], 2, "--dtype <DTYPE>", "--output <OUTPUT>", "required arguments"],
        [
          ["quantize", "model", "--dtype", "q9", "-o", "x"],
          2,
          "invalid value 'q9'",
          "possible values: q8, q6, q4",
        ],
        [["quantize", "model", "--dtype", "q8", "-o", "x", "--shard", "24XB"], 2, "invalid value '24XB'"],
        [["quantize", "model", "--dtype", "q8", "-o", "x", "--shard", "0"], 2, "invalid value '0'"],
        [["quantize", "model", "--dtype", "q8", "-o"], 2, "a value is required for '--output <OUTPUT>'"],
        [["info"], 2, "<ID|DIR>"],
        [["info", "model", "more"], 2, "unexpected argument 'more' found"],
        [["info", "model", "--quick"], 2, "unexpected argument '--quick' found"],
        [["info", "model", "--file", "a", "--file", "b"], 2, "cannot be used multiple times"],
        [["embed", "model", "a", "--json"], 2, "standard input"],
        [["embed", "model", "a", "--dimensions", "x"], 2, "invalid value 'x'"],
        [["embed", "model", "a", "--labels=1"], 2, "unexpected value '1' for '--labels'"],
        [["embed", "model", "a", "--dimensions", "9999"], 1, "9999"],
        [["embed", "model", "a", "--prompt-name", "none"], 1, "none", "query"],
        [["embed", "model", "a", "--top-k", "3"], 1, "--top-k is for sparse vectors"],
        [["embed", "splade", "a", "--output-dtype", "int8"], 1, "--output-dtype is for dense vectors"],
        [["info", "./nowhere"], 1, "./nowhere cannot be loaded", "config.json"],
        [["info", "model", "--file", "x.gguf"], 1, "cannot be loaded", "x.gguf"],
      ]) {
        const error = await command(args, { runtime, fails: true });
        assert.equal(error.code, code, error.stderr);
        for (const word of words) assert.include(error.stderr, word);
        assert.equal(error.stdout, "");
        assert.notInclude(error.stderr, "    at ");
      }
      for (const args of [["--help"], ["quantize", "--help"], ["embed", "-h"], ["info", "--help"]]) {
        assert.include(await command(args, { runtime }), "Usage: gossamer-embed");
      }
      const { version } = JSON.parse(await readFile(`${root}pkg/package.json`, "utf8"));
      assert.equal(await command(["--version"], { runtime }), `gossamer-embed ${version}\n`);
    });
  });
}

test("it is a command of the package, and small", async () => {
  const path = join(folder, "node_modules/.bin/gossamer-embed");
  assert.include((await run(path, ["--help"], { cwd: folder })).stdout, "Usage");
  const cli = join(folder, "node_modules/gossamer-embed/dist/cli.js");
  assert.isBelow((await stat(cli)).size, 16_000);
});

test("lines of the standard input", async () => {
  const texts = async (input, ...args) => {
    const path = join(folder, "input");
    await writeFile(path, input);
    const file = await open(path);
    try {
      const shell = `"$0" node_modules/gossamer-embed/dist/cli.js embed model "$@" < input`;
      return (await run("sh", ["-c", shell, process.execPath, ...args], { cwd: folder })).stdout;
    } finally {
      await file.close();
    }
  };
  const model = await load(join(root, TINY));
  const expected = async (list) => (await model.encode(list)).toList();
  const vectors = (text) => lines(text).map(({ embedding }) => embedding);
  // Only a line feed ends a line, and a carriage return before it is part of the end.
  const odd = ["a\u2028cat", "the\rdog", "", "\u00a0mat", "last"];
  assert.deepEqual(vectors(await texts(`\ufeff${odd.join("\r\n")}`)), await expected(odd));
  assert.equal(await texts(""), "");
  const json = ['"a\\ncat"', '{"text": "the dog", "id": 7}'].join("\n");
  assert.deepEqual(vectors(await texts(json, "--json")), await expected(["a\ncat", "the dog"]));
  for (const [input, args, words] of [
    [Uint8Array.from([0x61, 0x0a, 0xe9, 0x0a]), [], "not UTF-8"],
    ["a cat\n", ["--json"], "line 1 of the standard input is not JSON"],
    ['"a"\n[1]\n', ["--json"], "line 2"],
  ]) {
    const error = await texts(input, ...args).catch((error) => error);
    assert.equal(error.code, 1);
    assert.include(error.stderr, words);
  }
  // More than a pipe holds, to a reader that leaves after a line; the texts never end.
  const shell = `yes "a cat" | "$0" node_modules/gossamer-embed/dist/cli.js embed model | head -n 1`;
  const { stdout } = await run("sh", ["-c", shell, process.execPath], { cwd: folder });
  assert.deepEqual(vectors(stdout), await expected(["a cat"]));
  model.dispose();
});

test("info reads no more of the weights than their header", async () => {
  let sent = 0;
  const files = createServer(async (request, response) => {
    const bytes = await readFile(join(root, MINILM, decodeURIComponent(request.url))).catch(() => undefined);
    if (!bytes) return response.writeHead(404).end();
    response.writeHead(200, { "content-length": bytes.length });
    for (let at = 0; at < bytes.length && !response.destroyed; at += 65_536) {
      const chunk = bytes.subarray(at, at + 65_536);
      sent += chunk.length;
      if (!response.write(chunk)) {
        await Promise.race(
          ["drain", "close"].map((event) => new Promise((done) => response.once(event, done))),
        );
      }
    }
    response.end();
  });
  const port = await listen(files);
  try {
    const info = JSON.parse(await command(["info", `http://127.0.0.1:${port}/`]));
    const { size } = await stat(join(root, MINILM, "model.safetensors"));
    const model = await load(join(root, MINILM));
    for (const field of ["parameters", "weightBytes", "dimensions", "family"]) {
      assert.equal(info[field], model.info[field], field);
    }
    model.dispose();
    assert.isAbove(info.bytes, size);
    // What is on its way when the connection is closed, and the tokenizer.
    assert.isBelow(sent, size / 4);
  } finally {
    files.closeAllConnections();
    files.close();
  }
});

test("a Hub model, by its commit", async () => {
  const env = { HF_ENDPOINT: `${server.origin}/hub` };
  const info = JSON.parse(await command(["info", "org/tiny"], { env }));
  assert.equal(info.model, "org/tiny");
  assert.match(info.revision, /^[0-9a-f]{40}$/);
  const printed = await command(["quantize", "org/tiny", "--dtype", "q8", "-o", "from-hub"], { env });
  assert.include(printed, "from-hub: ");
  const { code, stderr } = await command(["info", "org/none"], { env, fails: true });
  assert.equal(code, 1);
  assert.include(stderr, "org/none cannot be loaded");
});

test("a signal ends it, and leaves nothing behind", async () => {
  const stuck = createServer((request, response) => {
    if (request.url.endsWith("config.json")) response.writeHead(200).write("{");
  });
  const port = await listen(stuck);
  try {
    const output = join(folder, "stopped/model");
    const script = join(folder, "node_modules/gossamer-embed/dist/cli.js");
    const args = [script, "quantize", `http://127.0.0.1:${port}/`, "--dtype", "q8", "-o", output];
    const asked = new Promise((done) => stuck.once("request", done));
    const child = launch(process.execPath, args);
    await asked;
    child.kill("SIGINT");
    assert.equal((await child.ended()).code, 130);
    assert.isEmpty(await readdir(join(folder, "stopped")).catch(() => []));
  } finally {
    stuck.closeAllConnections();
    stuck.close();
  }
});
