/** The shared cases in the Node that runs this, and what only hosts with files have. */

import { createHash } from "node:crypto";
import { getEventListeners } from "node:events";
import { existsSync } from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  unlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { createServer as createSecureServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { assert } from "chai";
import { cache, load } from "gossamer-embed";
import { once, topics } from "../cases/all.mjs";
import { fidelity } from "../cases/fidelity.mjs";
import { slow } from "../cases/memory.mjs";
import { first, launch, run, until } from "../support/child.mjs";
import { ENDLESS, hear, LIES } from "../support/lies.mjs";
import { failure, fetchJson, TINY, tinyFiles } from "../support/models.mjs";
import { runtimes } from "../support/runtimes.mjs";
import { saveInto } from "../support/save.mjs";
import { root, serve } from "../support/server.mjs";
import { measureTokenizer } from "../support/tokenizer-load.mjs";

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

for (const [topic, cases] of Object.entries({ ...topics, once, slow, fidelity })) {
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
    const { stdout } = await run("python3", ["-c", script], { env });
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
    launch(path, [...args, join(root, "tests/js/support/load-once.mjs"), name], {
      env: { ...process.env, HF_HUB_CACHE: folder, HF_ENDPOINT: `${server.origin}/hub` },
    });
  /** Its exit code, 0 unless a signal has ended it. */
  const ended = async (child) => {
    const { code, signal } = await child.closed();
    if (code !== 0 && !signal) throw child.failure(`ended with code ${code}`);
    return code;
  };

  /** Runs `work` with variables of the environment; what it calls at once sees them. */
  async function within(variables, work) {
    const before = Object.keys(variables).map((name) => [name, process.env[name]]);
    const set = ([name, value]) => {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    };
    Object.entries(variables).forEach(set);
    try {
      return await work();
    } finally {
      before.forEach(set);
    }
  }

  /** Bytes of a download that is not whole yet. */
  async function partial(folder, model) {
    const blobs = join(folder, `models--${model.replace("/", "--")}`, "blobs");
    const names = await readdir(blobs).catch(() => []);
    const name = names.find((name) => name.startsWith(WEIGHTS) && name.endsWith(".gossamer.incomplete"));
    return name ? (await stat(join(blobs, name))).size : 0;
  }

  const digestOf = async (model) => {
    const { data } = await model.encode(TEXT);
    model.dispose();
    return Buffer.from(data.buffer).toString("hex");
  };

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
      await until(async () => (await partial(folder, "slow/killed")) >= 30e6, "30 MB have been written");
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

  test("a process that has slept spoils nothing, and a lock's clock is not believed", async () => {
    const folder = await temporary();
    const sleeper = start(folder, "slow/asleep");
    try {
      // Of a machine whose clock was ahead; nobody touches it.
      const locked = join(folder, "models--org--tiny/blobs");
      const { lfs } = await weightsOf("org/tiny");
      const lock = join(locked, `${lfs.sha256}.gossamer.lock`);
      await mkdir(lock, { recursive: true });
      const later = new Date(Date.now() + 3600e3);
      await utimes(lock, later, later);
      const warnings = [];
      const onWarning = (warning) => warnings.push(warning);
      const endpoint = `${server.origin}/hub`;
      const waiting = within({ HF_HUB_CACHE: folder }, () => load("org/tiny", { endpoint, onWarning }));

      const written = async () => (await partial(folder, "slow/asleep")) >= 20e6;
      await until(written, "20 MB have been written", { every: 20 });
      sleeper.kill("SIGSTOP");
      // It takes the download over after ten seconds, and goes on where it was.
      assert.equal(await ended(start(folder, "slow/asleep")), 0);
      const blobs = join(folder, "models--slow--asleep/blobs");
      assert.equal(await sha256(join(blobs, WEIGHTS)), WEIGHTS);
      const end = ended(sleeper);
      sleeper.kill("SIGCONT");
      assert.equal(await end, 0);
      assert.equal(await sha256(join(blobs, WEIGHTS)), WEIGHTS);
      assert.deepEqual(
        (await readdir(blobs)).filter((name) => name.startsWith(WEIGHTS)),
        [WEIGHTS],
      );

      const model = await waiting;
      assert.isTrue(await model.cached);
      model.dispose();
      assert.deepEqual(
        warnings.map(({ code }) => code),
        ["cache_busy"],
      );
      assert.include(warnings[0].message, lock);
    } finally {
      sleeper.kill("SIGKILL");
      await rm(folder, { recursive: true });
    }
  });

  /** What the Hub lists of a model's weights. */
  const weightsOf = async (model) => {
    const { siblings } = await fetchJson(`${server.origin}/hub/api/models/${model}/revision/main`);
    return siblings.find(({ rfilename }) => rfilename === "model.safetensors");
  };

  test("a file that is no link is checked, without a network, too", async () => {
    const folder = await temporary();
    try {
      const endpoint = `${server.origin}/hub`;
      const use = (options) =>
        within({ HF_HUB_CACHE: folder }, () => load("org/tiny", { endpoint, dtype: "f32", ...options }));
      const model = await use();
      await model.cached;
      const expected = await digestOf(model);
      const snapshots = join(folder, "models--org--tiny/snapshots");
      const [commit] = await readdir(snapshots);
      for (const name of ["model.safetensors", "tokenizer.json"]) {
        const path = join(snapshots, commit, name);
        const bytes = await readFile(path);
        await unlink(await realpath(path));
        await rm(path, { force: true });
        for (const options of [{ offline: true }, { endpoint: "http://127.0.0.1:9" }, {}]) {
          await writeFile(path, Buffer.from(bytes).fill(bytes.at(-1) ^ 1, bytes.length - 1));
          if (Object.keys(options).length > 0) {
            assert.equal((await failure(() => use(options))).code, "wrong_hash");
          } else {
            assert.equal(await digestOf(await use()), expected);
          }
        }
        assert.deepEqual(await readFile(path), bytes);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  // Root may write everywhere, and is another user then.
  const isRoot = process.getuid?.() === 0;
  test("a damaged file in a folder that cannot be written to", async () => {
    const folder = await temporary();
    const home = await temporary();
    try {
      const endpoint = `${server.origin}/hub`;
      const model = await within({ HF_HUB_CACHE: folder }, () => load("org/tiny", { endpoint }));
      await model.cached;
      const expected = await digestOf(model);
      const files = await readdir(folder, { recursive: true, withFileTypes: true });
      const paths = files.map((file) => join(file.parentPath, file.name));
      const flip = async (path) => {
        const bytes = await readFile(path);
        bytes[bytes.length - 1] ^= 1;
        await writeFile(path, bytes);
      };
      const quantised = paths.filter((path) => /gossamer\/hub.*model\.safetensors\/\d/.test(path));
      const script = `
import { load } from "gossamer-embed";
const warnings = [];
const options = { onWarning: ({ code }) => warnings.push(code), offline: process.argv[1] === "offline" };
try {
  const model = await load("org/tiny", options);
  const { data } = await model.encode(${JSON.stringify(TEXT)});
  console.log(JSON.stringify({ digest: Buffer.from(data.buffer).toString("hex"), cached: await model.cached, warnings }));
} catch ({ name, code }) {
  console.log(JSON.stringify({ name, code, warnings }));
}`;
      const attempt = async (mode) => {
        const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script, mode], {
          env: { ...process.env, HF_HUB_CACHE: folder, HF_ENDPOINT: endpoint, HOME: home },
          cwd: join(root, "tests/js"),
          timeout: 30_000,
          ...(isRoot && { uid: 65534, gid: 65534 }),
        });
        return JSON.parse(stdout);
      };
      await chmod(folder, 0o755);
      for (const path of [...paths, folder]) if ((await lstat(path)).isDirectory()) await chmod(path, 0o555);
      assert.isNotEmpty(quantised);
      for (const path of quantised) await flip(path);
      // What it was made of is there still.
      assert.deepInclude(await attempt("offline"), { digest: expected, warnings: ["not_cached"] });
      const { lfs } = await weightsOf("org/tiny");
      await flip(join(folder, "models--org--tiny/blobs", lfs.sha256));
      const online = await attempt("online");
      assert.equal(online.digest, expected);
      assert.isFalse(online.cached);
      assert.deepInclude(await attempt("offline"), { name: "GossamerError", code: "wrong_hash" });
    } finally {
      for (const path of (await readdir(folder, { recursive: true })).map((name) => join(folder, name))) {
        if ((await lstat(path)).isDirectory()) await chmod(path, 0o755);
      }
      await rm(folder, { recursive: true });
      await rm(home, { recursive: true });
    }
  });

  test("the folder is where huggingface_hub has it", async () => {
    const home = await temporary();
    const braced = (name) => `$\{${name}}`;
    const names = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME", "PLACE"];
    const settings = [
      {},
      { HF_HOME: "~/hf" },
      { HF_HOME: "$HOME/hf2/" },
      { HF_HOME: `${braced("HOME")}/hf3`, HF_HUB_CACHE: undefined },
      { HF_HOME: `~/${braced("PLACE")}/$PLACE-x`, PLACE: "here" },
      { HF_HOME: `$HOME/$NOWHERE/${braced("NOWHERE")}` },
      { XDG_CACHE_HOME: "$HOME/xdg" },
      { XDG_CACHE_HOME: "~/xdg2", HF_HOME: `${home}/hf4` },
      { HUGGINGFACE_HUB_CACHE: "~/old", HF_HOME: "~/hf5" },
      { HUGGINGFACE_HUB_CACHE: "~/old2", HF_HUB_CACHE: "~/new" },
      { HF_HUB_CACHE: "$HOME/~/x" },
      { HF_HUB_CACHE: `${home}/~root` },
      ...(isRoot
        ? [
            { HF_HUB_CACHE: `~root/../${home}/by-user` },
            { HOME: undefined, HF_HUB_CACHE: `~/../${home}/by-id` },
          ]
        : []),
    ].map((setting) => Object.fromEntries(names.map((name) => [name, { HOME: home, ...setting }[name]])));
    try {
      const expected = await python(
        home,
        `
import json, os, importlib
from huggingface_hub import constants
found = []
for setting in json.loads(${JSON.stringify(JSON.stringify(settings.map((setting) => Object.fromEntries(names.map((name) => [name, setting[name] ?? null])))))}):
    for name, value in setting.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    importlib.reload(constants)
    found.append(constants.HF_HUB_CACHE)
print(json.dumps(found))`,
      );
      const endpoint = `${server.origin}/hub`;
      for (const [index, setting] of settings.entries()) {
        const model = await within(setting, () => load("org/tiny", { endpoint }));
        assert.isTrue(await model.cached);
        model.dispose();
        const path = join(expected[index], "models--org--tiny");
        assert.isTrue(existsSync(join(path, "snapshots")), `${path} for ${JSON.stringify(setting)}`);
        await rm(path, { recursive: true });
      }
      for (const [HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, isOffline] of [
        ...["1", "ON", "on", "Yes", "true", "TRUE"].map((value) => [value, undefined, true]),
        ...["0", "no", "off", "False", "false", "", "2", " 1"].map((value) => [value, undefined, false]),
        [undefined, "1", true],
        ["", "1", true],
        ["0", "1", false],
      ]) {
        const variables = { HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, HF_HUB_CACHE: join(home, "offline") };
        const story = JSON.stringify(variables);
        const loading = within(variables, () => load("org/absent", { endpoint }));
        assert.equal((await failure(() => loading)).code, isOffline ? "offline" : "not_found", story);
      }
      // Neither a home folder nor a user of this number: it is not kept.
      if (isRoot) {
        const script = `
import { load } from "gossamer-embed";
const model = await load("org/tiny");
console.log(JSON.stringify(await model.cached));`;
        const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], {
          env: { PATH: process.env.PATH, HF_ENDPOINT: endpoint },
          cwd: join(root, "tests/js"),
          uid: 54321,
          gid: 54321,
        });
        assert.equal(stdout, "false\n");
      }
    } finally {
      await rm(home, { recursive: true });
    }
  });

  test("no lie of a Hub makes a file outside of the folder", async () => {
    const sandbox = await temporary();
    const folder = join(sandbox, "a/b/c/d/e/hub");
    try {
      const outcomes = await within({ HF_HUB_CACHE: folder }, async () => ({
        ...(await hear(server, LIES)),
        endless: await hear(server, ENDLESS),
      }));
      assert.isAbove(outcomes.network, 200);
      assert.isAbove(outcomes.loaded, 100);
      let path = sandbox;
      for (const part of ["a", "b", "c", "d", "e", "hub"]) {
        assert.deepEqual(await readdir(path), [part]);
        path = join(path, part);
      }
      for (const name of await readdir(folder, { recursive: true })) assert.notInclude(name, "PWNED");
      for (const place of ["/PWNED", "/tmp/PWNED", "PWNED", "C:\\PWNED"]) assert.isFalse(existsSync(place));
      // A name of a model is not a path, either.
      assert.isFalse(await within({ HF_HUB_CACHE: folder }, () => cache.delete("../../..")));
      assert.isTrue(existsSync(folder));
    } finally {
      await rm(sandbox, { recursive: true });
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

describe("connections", () => {
  test("certificates that nobody trusts, and redirects to where others read along", async () => {
    const folder = await mkdtemp(join(tmpdir(), "gossamer-"));
    const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(folder, name));
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    const files = ["-keyout", key, "-out", cert];
    await run("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...subject, ...files]);
    const seen = [];
    const secure = createSecureServer(
      { key: await readFile(key), cert: await readFile(cert) },
      (request, response) => {
        seen.push(request.headers.authorization);
        // By way of another address of its own, so that the last one alone would not tell.
        const path = request.url.replace(/^\/hub\/(api\/models\/)?org\/tiny/, "/hub/$1org/private");
        response.writeHead(302, { location: `${server.origin}${path}` }).end();
      },
    );
    await new Promise((done) => secure.listen(0, "127.0.0.1", done));
    try {
      const endpoint = `https://127.0.0.1:${secure.address().port}/hub`;
      const untrusted = await failure(() => load("org/tiny", { endpoint, cache: false }));
      assert.equal(untrusted.code, "network");
      assert.match(untrusted.message, /self-signed certificate/);
      assert.lengthOf(seen, 0);
      const script = `
import { load } from "gossamer-embed";
const found = [];
for (const source of ["org/tiny", "${endpoint}-folder/"]) {
  await load(source, { endpoint: "${endpoint}", cache: false, token: "secret" }).catch((error) => found.push([error.code, error.message]));
}
console.log(JSON.stringify(found));`;
      await (await fetch(`${server.origin}/hub/asked`)).text();
      const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], {
        env: { ...process.env, NODE_EXTRA_CA_CERTS: cert },
        cwd: join(root, "tests/js"),
      });
      const found = JSON.parse(stdout);
      assert.lengthOf(found, 2);
      for (const [code, message] of found) {
        assert.equal(code, "network");
        assert.include(message, "not encrypted");
      }
      assert.include(seen, "Bearer secret");
      assert.deepEqual(await (await fetch(`${server.origin}/hub/asked`)).json(), []);
    } finally {
      secure.closeAllConnections();
      await new Promise((done) => secure.close(done));
      await rm(folder, { recursive: true });
    }
  });

  test("hosts that are not there are told of with the reason", async () => {
    const refused = await failure(() => load("http://127.0.0.1:9/x/"));
    assert.match(refused.message, /ECONNREFUSED|bad port/);
    const unknown = await failure(() => load("http://nowhere.invalid/x/"));
    assert.match(unknown.message, /nowhere\.invalid.*(ENOTFOUND|EAI_AGAIN)/);
  });

  test("loads with one signal leave no listener, whether they succeed or fail", async () => {
    const { signal } = new AbortController();
    const values = new Map();
    const store = {
      get: (name) => values.get(name),
      put: (name, value) => void values.set(name, value),
      delete: (name) => values.delete(name),
    };
    const endpoint = `${server.origin}/hub`;
    for (let round = 0; round < 5; round++) {
      for (const [source, options] of [
        ["org/tiny", { cache: store }],
        ["org/variants", {}],
        ["org/damaged", { cache: store }],
        ["org/absent", { cache: store }],
        [`${server.origin}/${TINY}`, {}],
      ]) {
        const model = await load(source, { endpoint, signal, ...options }).catch(() => undefined);
        await model?.cached;
        model?.dispose();
      }
    }
    assert.deepEqual(getEventListeners(signal, "abort"), []);
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
      assert.equal(model.info.stored.outcome, "kept");
      model.dispose();
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("a classifier of tokens is refused, unless it is to be loaded as a kind", async () => {
    const { "modules.json": _, ...files } = await tinyFiles(server.origin);
    const config = JSON.parse(new TextDecoder().decode(files["config.json"]));
    const asTagger = { ...config, architectures: ["BertForTokenClassification"] };
    const changed = { ...files, "config.json": new TextEncoder().encode(JSON.stringify(asTagger)) };
    const error = await failure(() => load(changed));
    assert.equal(error.code, "unsupported_model", error.message);
    assert.include(error.message, "BertForTokenClassification");
    const [plain, insisted] = [await load(files), await load(changed, { kind: "dense" })];
    assert.deepEqual(insisted.info.leftOut, ["BertForTokenClassification (architectures)"]);
    assert.isUndefined(plain.info.leftOut);
    assert.notEqual(insisted.info.spaceId, plain.info.spaceId);
    assert.deepEqual(await insisted.encode("The cat sat."), await plain.encode("The cat sat."));
    for (const model of [plain, insisted]) model.dispose();
    assert.equal((await failure(() => load(files, { kind: "colbert" }))).code, "invalid_input");
    assert.equal((await failure(() => load(files, { kind: "reranker" }))).code, "missing_tensor");
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

describe("workers", () => {
  const script = `
    import { load } from "gossamer-embed";
    const model = await load(${JSON.stringify(root + TINY)}, { workers: 2 });
    const { signal } = new AbortController();
    const warnings = [];
    process.on("warning", ({ name }) => warnings.push(name));
    await Promise.all(Array.from({ length: 500 }, () => model.encode(["a cat", "a dog"], { signal })));
    await new Promise((done) => setImmediate(done));
    console.log(JSON.stringify({ workers: model.info.workers, warnings }));`;

  // The Node that runs this, and newer ones.
  for (const [name, command] of Object.entries(runtimes).filter(([name]) => name.startsWith("Node"))) {
    test(`in a process that is given its script as an argument: ${name}`, {
      skip: command ? false : "not installed",
    }, async () => {
      const args = ["--input-type=module", "--eval", script];
      const { stdout } = await run(command[0], args, { cwd: root });
      assert.deepEqual(JSON.parse(stdout), { workers: 2, warnings: [] });
    });
  }
});

describe("large vocabularies", () => {
  test("a Unigram vocabulary of 250,002 entries is loaded within 40 MB of wasm memory", async () => {
    const { memoryBytes } = await measureTokenizer("Unigram, 250,002 entries", 1);
    assert.isAtMost(memoryBytes, 40e6);
  });
});

describe("SPLADE models of real size", () => {
  const measure = async (...data) => {
    const worker = new Worker(new URL("../support/sized-splade-worker.mjs", import.meta.url), {
      workerData: data,
    });
    return first(worker, "message", 300_000);
  };
  for (const name of ["sized-splade-minilm", "sized-splade-base"]) {
    for (const dtype of ["q8", "f32"]) {
      test(`${name} in ${dtype}: native's bits, and no tokens × vocabulary matrix in memory`, async () => {
        const expected = await fetchJson(`${server.origin}/tests/fixtures/sized-splade-digests.json`);
        const { digest, weightBytes, used } = await measure(server.origin, name, dtype);
        assert.equal(digest, expected[name][dtype]);
        // Code, tokenizer, activations and two rows of the vocabulary's length; that matrix alone
        // would be 60 MiB.
        assert.isAtMost(used - weightBytes, 24 << 20);
      });
    }
  }
});

test("a load that is aborted leaves no file of a folder open", {
  skip: !existsSync("/proc/self/fd"),
}, async () => {
  const folder = `${root}models/sentence-transformers/all-MiniLM-L6-v2`;
  const held = async () => {
    const files = await readdir("/proc/self/fd");
    const paths = await Promise.all(files.map((file) => realpath(`/proc/self/fd/${file}`).catch(() => "")));
    return paths.filter((path) => path.includes("all-MiniLM-L6-v2"));
  };
  for (let milliseconds = 0; milliseconds < 30; milliseconds++) {
    const signal = AbortSignal.timeout(milliseconds);
    // It may have been done before.
    (await load(folder, { signal }).catch(() => undefined))?.dispose();
    await until(async () => (await held()).length === 0, "all files are closed", { every: 5 });
  }
});
