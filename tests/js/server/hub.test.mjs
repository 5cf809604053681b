/**
 * The native command line and the Hub: what may be wrong with one, and the cache that Python
 * shares.
 */

import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { assert } from "chai";
import { awkwardHub, COMMIT, filesOf, listed, sendRange } from "../support/awkward-hub.mjs";
import { launch, until } from "../support/child.mjs";
import { materialise } from "../support/fixtures.mjs";
import { root } from "../support/server.mjs";

const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;
const OTHER = "b0bab0bab0bab0bab0bab0bab0bab0bab0bab0ba";
const WEIGHTS = "model.safetensors";

let scratch;
let files;
/** Of another commit: other weights. */
let others;
let hub;
/** HF_HOME of each test. */
let home;
let number = 0;

before(async () => {
  scratch = await mkdtemp(`${TARGET}/serve-hub-`);
  const tiny = join(scratch, "tiny");
  await materialise(`${root}tests/fixtures/tiny-bert`, tiny);
  files = await filesOf(tiny);
  const weights = Buffer.from(files.get(WEIGHTS));
  // Numbers of every tensor: some are not used.
  for (let at = 8 + weights.readUInt32LE(0); at < weights.length; at += 400) weights.writeFloatLE(0.5, at);
  others = new Map([...files, [WEIGHTS, weights]]);
});
after(() => rm(scratch, { recursive: true, force: true }));
beforeEach(async () => {
  hub = await awkwardHub(files);
  home = join(scratch, `home-${number++}`);
});
afterEach(() => hub.close());

/**
 * Starts `gossamer quantize` of a model; `done` is its `{ code, errors, output }`, the quantised
 * folder.
 */
function start(model, environment = {}) {
  const output = join(scratch, `out-${number++}`);
  const env = { PATH: process.env.PATH, HF_HOME: home, HF_ENDPOINT: hub.origin, ...environment };
  const args = ["quantize", model, "--dtype", "q8", "-o", output];
  const child = launch(`${TARGET}/debug/gossamer`, args, { env, cwd: scratch });
  const done = child.closed().then(({ code }) => ({ code, errors: child.stderr, output }));
  return { child, done };
}
const load = (environment, model = "org/tiny") => start(model, environment).done;

async function loads(environment, model) {
  const result = await load(environment, model);
  assert.equal(result.code, 0, result.errors);
  return result;
}

async function refused(pattern, environment, model) {
  const { code, errors } = await load(environment, model);
  assert.match(errors, pattern);
  assert.equal(code, 1, errors);
}

/** The quantised weights: equal for equal originals. */
const weightsOf = ({ output }) => readFile(join(output, WEIGHTS));
const model = (folder = join(home, "hub")) => join(folder, "models--org--tiny");
const blob = (bytes) => join(model(), "blobs", listed(WEIGHTS, bytes).lfs.sha256);

/** All that is in the scratch folder but the cache, by path. */
async function outside() {
  const all = await readdir(scratch, { recursive: true });
  return all.filter((path) => !/^(home|out)-\d+(\/|$)|^tiny/.test(path));
}

describe("one commit", () => {
  test("a branch that moves: all of the new commit, or all of the old one without a network", async () => {
    const first = await loads();
    hub.commits.set(OTHER, others);
    hub.main = OTHER;
    const second = await loads();
    assert.notDeepEqual(await weightsOf(second), await weightsOf(first));
    assert.equal(await readFile(join(model(), "refs/main"), "utf8"), OTHER);
    // By name, only the listing is asked for.
    for (const { path } of hub.asked) assert.notMatch(path, /resolve\/main/);
    assert.deepEqual(await weightsOf(await loads({ HF_HUB_OFFLINE: "1" })), await weightsOf(second));
    assert.deepEqual(
      await weightsOf(await loads({ HF_HUB_OFFLINE: "1" }, `org/tiny@${COMMIT}`)),
      await weightsOf(first),
    );
    // What both commits have is fetched once.
    assert.equal(hub.asked.filter(({ path }) => path.endsWith("tokenizer.json")).length, 1);
  });

  test("if the branch moves while it is loaded, it is the commit of the listing", async () => {
    hub.commits.set(OTHER, others);
    hub.listing = (listing) => {
      hub.main = OTHER;
      return listing;
    };
    await loads();
    assert.deepEqual(await readdir(join(model(), "snapshots")), [COMMIT]);
    assert.deepEqual(await readFile(blob(files.get(WEIGHTS))), files.get(WEIGHTS));
  });

  test("a file of another commit is refused", async () => {
    hub.serve = (request, response, { bytes, headers }) =>
      sendRange(request, response, bytes, { ...headers, "x-repo-commit": OTHER });
    await refused(new RegExp(`is of commit .*${OTHER}.*and ${COMMIT} was asked for`));
  });

  test("a mirror that lists nothing", async () => {
    hub.listing = (_, __, response) => void response.writeHead(404).end();
    await loads();
    assert.deepEqual(await readdir(join(model(), "snapshots")), [COMMIT]);
    hub.serve = (request, response, { bytes }) =>
      sendRange(request, response, bytes, { "x-repo-commit": "../../../PWNED" });
    await refused(/no model org\/tiny|is of commit/, { HF_HOME: `${home}-other` });
  });

  for (const revision of ["../../x", "..", "a/../../x", "/etc", "a b", ".hidden", "x.lock", ""]) {
    test(`org/name@${revision} is refused`, async () => {
      await refused(/is no revision/, {}, `org/tiny@${revision}`);
      assert.deepEqual(hub.asked, []);
    });
  }
});

describe("the cache", () => {
  test("has the layout of huggingface_hub", async () => {
    await loads();
    for (const [name, bytes] of files) {
      const path = join(model(), "snapshots", COMMIT, name);
      if (!(await lstat(path).catch(() => undefined))) continue;
      const { blobId, lfs } = listed(name, bytes);
      assert.equal(
        await readlink(path),
        `${"../".repeat(name.split("/").length + 1)}blobs/${lfs?.sha256 ?? blobId}`,
      );
      assert.deepEqual(await readFile(path), bytes);
      assert.equal((await stat(path)).mode & 0o444, 0o444);
    }
    assert.equal(await readFile(join(model(), "refs/main"), "utf8"), COMMIT);
    const left = (await readdir(join(model(), "blobs"))).filter((name) => name.includes("."));
    assert.deepEqual(left, []);
  });

  for (const name of [WEIGHTS, "tokenizer.json", "config.json"]) {
    test(`a flipped byte of ${name}: refused, and fetched again`, async () => {
      const right = await weightsOf(await loads());
      const path = join(model(), "snapshots", COMMIT, name);
      const { mtime, atime } = await stat(path);
      const bytes = await readFile(path);
      bytes[bytes.length >> 1] ^= 1;
      await writeFile(path, bytes);
      // As a disk does it.
      await utimes(path, atime, mtime);
      await refused(/is damaged/, { HF_HUB_OFFLINE: "1" });
      const again = await loads();
      assert.match(again.errors, /damaged; fetching it again/);
      assert.deepEqual(await weightsOf(again), right);
      assert.deepEqual(await readFile(path), files.get(name));
      assert.notMatch((await loads()).errors, /damaged/);
    });
  }

  test("a flipped byte where nothing can be written: passed over", {
    skip: process.getuid() === 0 && "root writes anywhere",
  }, async () => {
    await loads();
    const path = blob(files.get(WEIGHTS));
    const bytes = await readFile(path);
    bytes[100] ^= 1;
    await writeFile(path, bytes);
    for (const folder of ["blobs", `snapshots/${COMMIT}`]) await chmod(join(model(), folder), 0o555);
    await loads();
    for (const folder of ["blobs", `snapshots/${COMMIT}`]) await chmod(join(model(), folder), 0o755);
  });

  test("where no folder can be made, the model is loaded and not kept", async () => {
    await writeFile(home, "a file, where a folder should be");
    const { errors } = await loads();
    assert.match(errors, /cannot be kept in the cache/);
  });

  test("no home folder: a message, and it is loaded", async () => {
    const { errors } = await loads({ HF_HOME: "", HOME: "relative" });
    assert.match(errors, /no home folder/);
  });

  for (const [variables, cache] of [
    [{ HF_HOME: "", XDG_CACHE_HOME: "$BASE/xdg" }, "xdg/huggingface/hub"],
    [{ HF_HOME: "~/hf" }, "hf/hub"],
    [{ HF_HOME: "$HOME/hf2" }, "hf2/hub"],
    [{ HUGGINGFACE_HUB_CACHE: "$BASE/old" }, "old"],
    [{ HF_HUB_CACHE: "$BASE/new", HUGGINGFACE_HUB_CACHE: "/nowhere" }, "new"],
  ]) {
    test(`is where ${JSON.stringify(variables)} says`, async () => {
      await mkdir(home, { recursive: true });
      await loads({ HOME: home, BASE: home, ...variables });
      assert.isTrue((await stat(model(join(home, cache)))).isDirectory());
    });
  }

  for (const value of ["False", "no", "off", "0"]) {
    test(`HF_HUB_OFFLINE=${value} is not offline`, async () => {
      await loads({ HF_HUB_OFFLINE: value });
    });
  }
  for (const value of ["1", "on", "YES", "True"]) {
    test(`HF_HUB_OFFLINE=${value} is offline`, async () => {
      await refused(/is not in the cache, and HF_HUB_OFFLINE is set/, { HF_HUB_OFFLINE: value });
      assert.deepEqual(hub.asked, []);
    });
  }
});

describe("awkward servers", () => {
  test("HF_ENDPOINT with a slash at its end", async () => {
    await loads({ HF_ENDPOINT: `${hub.origin}/` });
  });

  for (const status of [301, 302, 303, 307, 308]) {
    test(`a redirect (${status}) to a relative address`, async () => {
      hub.serve = (request, response) => {
        if (request.url.startsWith("/moved")) return false;
        response.writeHead(status, { location: `/moved${request.url}` }).end();
      };
      await loads();
    });
  }

  test("no ETags, no ranges, no lengths", async () => {
    hub.listing = (listing) => ({
      ...listing,
      siblings: listing.siblings.map(({ rfilename }) => ({ rfilename })),
    });
    hub.serve = (_, response, { bytes }) => {
      response.writeHead(200, { "transfer-encoding": "chunked" });
      response.end(bytes);
    };
    await loads();
    hub.asked.length = 0;
    await loads();
    assert.lengthOf(hub.asked, 1);
  });

  test("a download that breaks off goes on where it stopped", async () => {
    let broken = 0;
    hub.serve = (_, response, { name, bytes, headers }) => {
      if (name !== WEIGHTS || broken++ > 0) return false;
      response.writeHead(200, { ...headers, "content-length": bytes.length });
      response.write(bytes.subarray(0, 10_000), () => response.destroy());
    };
    await loads();
    const ranges = hub.asked.filter(({ path }) => path.endsWith(WEIGHTS)).map(({ range }) => range);
    assert.deepEqual(ranges, [undefined, "bytes=10000-"]);
  });

  test("a download that breaks off begins anew where there are no ranges", async () => {
    let broken = 0;
    hub.serve = (_, response, { name, bytes, headers }) => {
      response.writeHead(200, { ...headers, "content-length": bytes.length });
      if (name !== WEIGHTS || broken++ > 0) return response.end(bytes);
      response.write(bytes.subarray(0, 10_000), () => response.destroy());
    };
    await loads();
  });

  test("a killed download is taken over by the next", async () => {
    hub.serve = (_, response, { name, bytes, headers }) => {
      if (name !== WEIGHTS) return false;
      response.writeHead(200, { ...headers, "content-length": bytes.length });
      response.write(bytes.subarray(0, 10_000));
    };
    const { child, done } = start("org/tiny");
    await until(async () => (await incomplete()).some(({ size }) => size === 10_000), "some has arrived");
    child.kill("SIGKILL");
    await done;
    hub.serve = undefined;
    hub.asked.length = 0;
    await loads();
    const ranges = hub.asked.filter(({ path }) => path.endsWith(WEIGHTS)).map(({ range }) => range);
    assert.deepEqual(ranges, ["bytes=10000-"]);
    assert.deepEqual(await incomplete(), []);
  });

  test("503, and then it goes better", async () => {
    let asked = 0;
    hub.serve = (_, response) =>
      asked++ > 0 ? false : void response.writeHead(503, { "retry-after": "0" }).end();
    await loads();
  });
});

/** Files that are not whole, with their sizes. */
async function incomplete() {
  const folder = join(model(), "blobs");
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".incomplete"));
  const found = names.map((name) => stat(join(folder, name)).catch(() => []));
  return (await Promise.all(found)).flat();
}

describe("tokens", () => {
  test("never pass the first host", async () => {
    const cdn = await awkwardHub(files);
    cdn.commits = hub.commits;
    hub.token = "secret";
    // Another port is another host.
    hub.serve = (request, response) =>
      void response.writeHead(302, { location: cdn.origin + request.url }).end();
    await loads({ HF_TOKEN: "secret" });
    assert.isAbove(cdn.asked.length, 0);
    for (const { authorization } of cdn.asked) assert.isUndefined(authorization);
    // Another name of the same machine, too; and back home it is not sent again.
    hub.token = undefined;
    hub.serve = (request, response) => {
      if (request.headers.host.startsWith("localhost")) {
        return void response.writeHead(302, { location: `${hub.origin}/moved${request.url}` }).end();
      }
      if (request.url.startsWith("/moved")) return false;
      response.writeHead(307, { location: `http://localhost:${hub.port}${request.url}` }).end();
    };
    hub.asked.length = 0;
    await loads({ HF_TOKEN: "secret", HF_HOME: `${home}-other` });
    const sent = hub.asked.filter(({ authorization }) => authorization !== undefined);
    for (const { host, authorization } of sent)
      assert.deepEqual([host, authorization], [`127.0.0.1:${hub.port}`, "Bearer secret"]);
    assert.isBelow(sent.length, hub.asked.length / 2);
    await cdn.close();
  });

  test("are trimmed, and come from a file as well", async () => {
    hub.token = "secret";
    await loads({ HF_TOKEN: "secret\n" });
    const other = `${home}-file`;
    await mkdir(other);
    await writeFile(join(other, "token"), "secret\r\n");
    await loads({ HF_HOME: other });
  });

  test("that are refused: the Hub's reason, and without one for a public model", async () => {
    hub.token = "secret";
    await refused(/token \(HF_TOKEN\) is refused: Invalid credentials in Authorization header/, {
      HF_TOKEN: "expired",
    });
    hub.token = undefined;
    hub.listing = (listing, request, response) => {
      if (request.headers.authorization === undefined) return listing;
      response
        .writeHead(401, { "content-type": "application/json" })
        .end('{"error":"User Access Token \\"x\\" is expired"}');
    };
    const { errors } = await loads({ HF_TOKEN: "expired" });
    assert.match(
      errors,
      /refuses the token \(HF_TOKEN\): User Access Token "x" is expired; going on without it/,
    );
  });
});

describe("hostile listings", () => {
  const bad = "../../../../PWNED";
  const change = (fields) => (listing) => ({
    ...listing,
    siblings: listing.siblings.map((file) => (file.rfilename === WEIGHTS ? { ...file, ...fields } : file)),
  });
  const lfs = (fields) => (listing) => ({
    ...listing,
    siblings: listing.siblings.map((file) =>
      file.lfs ? { ...file, lfs: { ...file.lfs, ...fields } } : file,
    ),
  });
  const add = (entry) => (listing) => ({ ...listing, siblings: [...listing.siblings, entry] });
  for (const [what, listing, pattern] of [
    ["sha: a path", (listing) => ({ ...listing, sha: bad }), /commit/],
    ["sha: a number", (listing) => ({ ...listing, sha: 7 }), /invalid type/],
    ["sha: missing", ({ siblings }) => ({ siblings }), /missing field `sha`/],
    ["lfs.sha256: a path", lfs({ sha256: bad }), /lfs\.sha256/],
    ["lfs.sha256: an absolute path", lfs({ sha256: "/tmp/PWNED" }), /lfs\.sha256/],
    ["lfs.sha256: of 40 digits", lfs({ sha256: COMMIT }), /lfs\.sha256/],
    ["lfs.sha256: another", lfs({ sha256: "a".repeat(64) }), /should have a{64}/],
    ["blobId: a path", change({ blobId: bad, lfs: null }), /blobId/],
    ["blobId: another", change({ blobId: OTHER, lfs: null }), /should have b0ba/],
    ["rfilename: a path", add({ rfilename: bad }), /no path within the model/],
    ["rfilename: absolute", add({ rfilename: "/tmp/PWNED" }), /no path within the model/],
    ["rfilename: null", add({ rfilename: null }), /invalid type/],
    ["siblings: null", (listing) => ({ ...listing, siblings: null }), /invalid type/],
    ["siblings: [null]", add(null), /invalid type/],
    ["size: -5", change({ size: -5 }), /-5/],
    ["size: 1e15", change({ size: 1e15 }), /too large|two sizes/],
    ["size: x", change({ size: "x" }), /invalid type/],
    ["size: 1.5", change({ size: 1.5 }), /1\.5/],
    ["size: too small", lfs({ size: undefined }), undefined],
    [
      "size: one byte less",
      (listing) => lfs({ size: undefined })(change({ size: 1000 })(listing)),
      /more than the 1000 bytes/,
    ],
    [
      "not JSON",
      (_, __, response) => void response.writeHead(200).end("<html>"),
      /no list of a model's files/,
    ],
  ]) {
    test(what, async () => {
      const before = await outside();
      hub.listing = listing;
      if (pattern) await refused(pattern);
      else await loads();
      assert.deepEqual(await outside(), before);
      // Nothing of it is taken for right later.
      const blobs = await readdir(join(model(), "blobs")).catch(() => []);
      for (const name of blobs) assert.match(name, /^[0-9a-f]{40}([0-9a-f]{24})?$/);
    });
  }

  for (const etag of ['"../../../../PWNED/etag"', '"/tmp/PWNED"', 'W/"5f-18"', "", `"${"0".repeat(63)}/"`]) {
    test(`an ETag ${etag}`, async () => {
      const before = await outside();
      hub.listing = (listing) => ({
        ...listing,
        siblings: listing.siblings.map(({ rfilename }) => ({ rfilename })),
      });
      hub.serve = (request, response, { bytes }) =>
        sendRange(request, response, bytes, { etag, "x-linked-etag": etag });
      await loads();
      assert.deepEqual(await outside(), before);
    });
  }

  test("a body with another SHA-256 than the listed one", async () => {
    hub.serve = (request, response, { name, bytes, headers }) => {
      if (name !== WEIGHTS) return false;
      const wrong = Buffer.from(bytes);
      wrong[wrong.length - 1] ^= 1;
      return sendRange(request, response, wrong, headers);
    };
    await refused(/model\.safetensors has the hash/);
    assert.isUndefined(await stat(blob(files.get(WEIGHTS))).catch(() => undefined));
    assert.deepEqual(await incomplete(), []);
  });

  test("redirects without end, and to what is no web address", async () => {
    hub.serve = (request, response) => void response.writeHead(302, { location: request.url }).end();
    await refused(/is redirected more than 10 times/);
    for (const location of ["file:///etc/passwd", "ftp://127.0.0.1/x"]) {
      hub.serve = (_, response) => void response.writeHead(302, { location }).end();
      await refused(/neither http nor https/);
    }
  });
});

describe("processes at once", () => {
  test("two: one download", async () => {
    hub.serve = async (_request, response, { name, bytes, headers }) => {
      if (name !== WEIGHTS) return false;
      response.writeHead(200, { ...headers, "content-length": bytes.length });
      for (let at = 0; at < bytes.length; at += 20_000) {
        response.write(bytes.subarray(at, at + 20_000));
        await new Promise((done) => setTimeout(done, 100));
      }
      response.end();
    };
    const both = await Promise.all([load(), load()]);
    for (const { code, errors } of both) assert.equal(code, 0, errors);
    assert.equal(hub.asked.filter(({ path }) => path.endsWith(WEIGHTS)).length, 1);
  });

  test("one that sleeps while another finishes spoils nothing", async () => {
    let hold = true;
    hub.serve = (_, response, { name, bytes, headers }) => {
      if (name !== WEIGHTS || !hold) return false;
      hold = false;
      response.writeHead(200, { ...headers, "content-length": bytes.length });
      response.write(bytes.subarray(0, 10_000));
      hub.rest = () => response.end(bytes.subarray(10_000));
    };
    const sleeper = start("org/tiny");
    await until(async () => (await incomplete()).some(({ size }) => size === 10_000), "some has arrived");
    sleeper.child.kill("SIGSTOP");
    const other = await load();
    assert.equal(other.code, 0, other.errors);
    assert.match(other.errors, /waiting for another process/);
    assert.deepEqual(await readFile(blob(files.get(WEIGHTS))), files.get(WEIGHTS));
    hub.rest();
    sleeper.child.kill("SIGCONT");
    const { code, errors } = await sleeper.done;
    assert.equal(code, 0, errors);
    assert.deepEqual(await readFile(blob(files.get(WEIGHTS))), files.get(WEIGHTS));
    assert.deepEqual(await incomplete(), []);
  });

  test("a link in place of a file that is to be written is not followed", async () => {
    const target = join(scratch, "victim");
    await writeFile(target, "precious");
    await mkdir(join(model(), "blobs"), { recursive: true });
    const { sha256 } = listed(WEIGHTS, files.get(WEIGHTS)).lfs;
    await symlink(target, join(model(), "blobs", `${sha256}.x.native.incomplete`));
    await loads();
    assert.equal(await readFile(target, "utf8"), "precious");
    await rm(target);
  });
});
