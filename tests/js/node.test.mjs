/** The shared cases in the Node that runs this, and what only hosts with files have. */

import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { lstat, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { assert } from "chai";
import { cache, load } from "gossamer-embed";
import { topics } from "./cases/all.mjs";
import { fidelity } from "./cases/fidelity.mjs";
import { slow } from "./cases/memory.mjs";
import { failure, fetchJson, TINY, tinyFiles } from "./support/models.mjs";
import { runtimes } from "./support/runtimes.mjs";
import { saveInto } from "./support/save.mjs";
import { root, serve } from "./support/server.mjs";
import { measureTokenizer } from "./support/tokenizer-load.mjs";

/** Where cargo builds to, and xtask installs Python's packages. */
const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;
/** SHA-256 of all-MiniLM-L6-v2's. */
const WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

let server;
let home;
before(async () => {
  server = await serve();
  home = await mkdtemp(join(tmpdir(), "gossamer-"));
  process.env.HF_HOME = home;
});
after(async () => {
  await server.close();
  await rm(home, { recursive: true });
});

for (const [topic, cases] of Object.entries({ ...topics, slow, fidelity })) {
  describe(topic, () => {
    for (const [name, run] of Object.entries(cases)) test(name, () => run(server));
  });
}

describe("the Hugging Face cache folder", () => {
  const TEXT = "The cat sat on the mat.";

  /** Runs Python with its huggingface_hub; what it prints, as JSON. */
  async function python(folder, script) {
    const env = {
      ...process.env,
      PYTHONPATH: `${TARGET}/python`,
      HF_HUB_CACHE: folder,
      HF_ENDPOINT: `${server.origin}/hub`,
    };
    const { stdout } = await promisify(execFile)("python3", ["-c", script], { env });
    return JSON.parse(stdout);
  }

  const temporary = () => mkdtemp(join(tmpdir(), "gossamer-"));

  const sha256 = async (path) =>
    createHash("sha256")
      .update(await readFile(path))
      .digest("hex");

  /** Log of the Hub since the last time. */
  const log = async (name) => (await fetch(`${server.origin}/hub/faults/${name}`)).json();

  /** Starts to load a model in a process of its own. */
  const start = (folder, name, [path, ...args] = [process.execPath]) =>
    spawn(path, [...args, join(root, "tests/js/support/load-once.mjs"), name], {
      env: { ...process.env, HF_HUB_CACHE: folder, HF_ENDPOINT: `${server.origin}/hub` },
      stdio: ["ignore", "ignore", "inherit"],
    });
  const ended = async (child) => (await once(child, "exit"))[0];

  test("Python finds what was downloaded here", async () => {
    const endpoint = `${server.origin}/hub`;
    const model = await load("org/tiny", { endpoint });
    assert.isTrue(await model.cached);
    model.dispose();
    await (await fetch(`${endpoint}/asked`)).text();
    const found = await python(
      join(home, "hub"),
      `
import json, hashlib
from huggingface_hub import hf_hub_download, scan_cache_dir
path = lambda name, **more: hf_hub_download("org/tiny", name, **more)
digest = lambda name, **more: hashlib.sha256(open(path(name, **more), "rb").read()).hexdigest()
info = scan_cache_dir()
print(json.dumps({
    "offline": digest("model.safetensors", local_files_only=True),
    "online": digest("model.safetensors"),
    "nested": digest("1_Pooling/config.json", local_files_only=True),
    "repos": [repo.repo_id for repo in info.repos],
    "warnings": [str(warning) for warning in info.warnings],
}))`,
    );
    assert.equal(found.offline, await sha256(`${root}${TINY}model.safetensors`));
    assert.equal(found.online, found.offline);
    assert.equal(found.nested, await sha256(`${root}${TINY}1_Pooling/config.json`));
    assert.include(found.repos, "org/tiny");
    assert.deepEqual(found.warnings, []);
    // It asked about the file, and did not fetch it.
    const asked = await (await fetch(`${endpoint}/asked`)).json();
    assert.isAtMost(asked.filter((path) => path.endsWith(".safetensors")).length, 1);
  });

  test("what Python has downloaded is loaded from there, offline", async () => {
    const folder = await temporary();
    const before = process.env.HF_HUB_CACHE;
    try {
      const names = Object.keys(await tinyFiles(server.origin));
      const download = `
import json, huggingface_hub
print(json.dumps([huggingface_hub.hf_hub_download("org/tiny", name) for name in ${JSON.stringify(names)}]))`;
      assert.lengthOf(await python(folder, download), names.length);
      process.env.HF_HUB_CACHE = folder;
      process.env.HF_HUB_OFFLINE = "1";
      const model = await load("org/tiny");
      const expected = await load(root + TINY);
      assert.deepEqual(await model.encode(TEXT), await expected.encode(TEXT));
      model.dispose();
      expected.dispose();
      // It is another's, and stays.
      await cache.clear();
      const [{ model: name }] = await cache.list();
      assert.equal(name, "org/tiny");
      assert.isTrue(await cache.delete("org/tiny"));
      assert.equal((await failure(() => load("org/tiny"))).code, "offline");
    } finally {
      delete process.env.HF_HUB_OFFLINE;
      if (before === undefined) delete process.env.HF_HUB_CACHE;
      else process.env.HF_HUB_CACHE = before;
      await rm(folder, { recursive: true });
    }
  });

  test("processes that load a model at once download it once, and one that is killed is continued", async () => {
    const folder = await temporary();
    try {
      await log("processes");
      const both = [1, 2].map(() => ended(start(folder, "slow/processes")));
      assert.deepEqual(await Promise.all(both), [0, 0]);
      assert.lengthOf(await log("processes"), 1);
      await log("killed");
      const child = start(folder, "slow/killed");
      const sent = async () =>
        (
          await stat(join(folder, "models--slow--killed", "blobs", `${WEIGHTS}.gossamer.incomplete`)).catch(
            () => ({ size: 0 }),
          )
        ).size;
      while ((await sent()) < 30e6) await pause(50);
      child.kill("SIGKILL");
      await ended(child);
      await log("killed");
      // The lock of the dead is taken over after ten seconds.
      assert.equal(await ended(start(folder, "slow/killed")), 0);
      const rows = await log("killed");
      assert.lengthOf(rows, 1);
      assert.isAtLeast(rows[0].from, 30e6);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  // Deno lets nobody make links who may not write everywhere; Windows none but developers.
  const { Deno } = runtimes;
  test("where no links can be made, files are moved and copied", { skip: !Deno && "no Deno" }, async () => {
    const folder = await temporary();
    try {
      await log("moved");
      const both = [1, 2].map(() => ended(start(folder, "slow/moved", Deno)));
      assert.deepEqual(await Promise.all(both), [0, 0]);
      assert.lengthOf(await log("moved"), 1);

      // One commit's files are links; another has the same.
      await log("copied");
      assert.equal(await ended(start(folder, "slow/copied")), 0);
      const model = join(folder, "models--slow--copied");
      const [commit] = await readdir(join(model, "snapshots"));
      const older = join(model, "snapshots/older");
      await rename(join(model, "snapshots", commit), older);
      const copy = join(model, "snapshots", commit, "model.safetensors");
      const again = async () => {
        await rm(join(model, "gossamer"), { recursive: true });
        assert.equal(await ended(start(folder, "slow/copied", Deno)), 0);
        assert.isTrue((await lstat(copy)).isFile());
        assert.deepEqual(await Promise.all([copy, join(older, "model.safetensors")].map(sha256)), [
          WEIGHTS,
          WEIGHTS,
        ]);
      };
      await again();
      // It is checked though its name says no hash.
      const bytes = await readFile(copy);
      bytes[bytes.length - 1] ^= 1;
      await writeFile(copy, bytes);
      await again();
      assert.lengthOf(await log("copied"), 1);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("folders", () => {
  test("a local folder, by path and by file: URL", async () => {
    const text = "The cat sat on the mat.";
    const expected = await (await load(`${server.origin}/${TINY}`)).encode(text);
    const url = pathToFileURL(root + TINY);
    for (const source of [root + TINY, (root + TINY).slice(0, -1), url, url.href]) {
      const model = await load(source);
      assert.deepEqual(await model.encode(text), expected);
      model.dispose();
    }
  });

  test("a tokenizer of several chunks, and what is saved", async () => {
    const folder = await mkdtemp(join(tmpdir(), "gossamer-"));
    try {
      const small = await load(root + TINY, { saveable: true });
      await saveInto(folder, small);
      const expected = await small.encode("The cat sat on the mat.");
      small.dispose();
      // Real ones have up to 17 MB.
      const tokenizer = await readFile(join(folder, "tokenizer.json"), "utf8");
      await writeFile(join(folder, "tokenizer.json"), tokenizer.replace("{", `{${" ".repeat(3e6)}`));
      const model = await load(folder);
      assert.deepEqual(await model.encode("The cat sat on the mat."), expected);
      assert.match(model.info.stored, /kept/);
      model.dispose();
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("a reranker is refused, unless it is to be loaded as a kind", async () => {
    const { "modules.json": _, ...files } = await tinyFiles(server.origin);
    const config = JSON.parse(new TextDecoder().decode(files["config.json"]));
    const asReranker = { ...config, architectures: ["BertForSequenceClassification"] };
    const changed = { ...files, "config.json": new TextEncoder().encode(JSON.stringify(asReranker)) };
    const error = await failure(() => load(changed));
    assert.equal(error.code, "unsupported_model", error.message);
    assert.include(error.message, "BertForSequenceClassification");
    const [plain, insisted] = [await load(files), await load(changed, { kind: "dense" })];
    assert.deepEqual(insisted.info.leftOut, ["BertForSequenceClassification (architectures)"]);
    assert.isUndefined(plain.info.leftOut);
    assert.notEqual(insisted.info.spaceId, plain.info.spaceId);
    assert.deepEqual(await insisted.encode("The cat sat."), await plain.encode("The cat sat."));
    for (const model of [plain, insisted]) model.dispose();
    assert.equal((await failure(() => load(files, { kind: "reranker" }))).code, "invalid_input");
  });

  test("a folder that is not there, or not a model", async () => {
    for (const [folder, word] of [
      ["./nowhere", "nowhere/config.json"],
      [root, "config.json"],
      [`${root}package.json`, "package.json"],
    ]) {
      const error = await failure(() => load(folder));
      assert.equal(error.code, "not_found", error.message);
      assert.include(error.message, word);
    }
  });
});

describe("large vocabularies", () => {
  test("a Unigram vocabulary of 250,002 entries is loaded within 40 MB of wasm memory", async () => {
    const { memoryBytes } = await measureTokenizer("Unigram, 250,002 entries", 1);
    assert.isAtMost(memoryBytes, 40e6);
  });
});

describe("SPLADE models of real size", () => {
  const measure = async (...data) => {
    const worker = new Worker(new URL("support/sized-splade-worker.mjs", import.meta.url), {
      workerData: data,
    });
    return new Promise((done, failed) => worker.once("message", done).once("error", failed));
  };
  for (const name of ["sized-splade-minilm", "sized-splade-base"]) {
    for (const dtype of ["q8", "f32"]) {
      test(`${name} in ${dtype}: native's bits, and no tokens × vocabulary matrix in memory`, async () => {
        const expected = await fetchJson(`${server.origin}/tests/fixtures/sized-splade-digests.json`);
        const { digest, weightBytes, used } = await measure(server.origin, name, dtype);
        assert.equal(digest, expected[name][dtype]);
        // Code, tokenizer, activations and two rows of the vocabulary's length; that matrix alone would be 60 MiB.
        assert.isAtMost(used - weightBytes, 24 << 20);
      });
    }
  }
});
