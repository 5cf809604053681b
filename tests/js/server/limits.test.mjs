/** What `gossamer serve` lets clients do to it: time, memory, connections, keys, and its end. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { assert } from "chai";
import { launch, until, within } from "../support/child.mjs";
import { materialise } from "../support/fixtures.mjs";
import { root } from "../support/server.mjs";

const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;
const SPLADE = `${root}tests/fixtures/tiny-splade`;
const BERT = `${root}tests/fixtures/tiny-dense`;
const MANY = Array(2000).fill("the dog sat on the mat");

let scratch;
let m3;
before(async () => {
  scratch = await mkdtemp(`${TARGET}/limits-`);
  m3 = join(scratch, "m3");
  await materialise(`${root}tests/fixtures/tiny-m3`, m3);
});
after(() => rm(scratch, { recursive: true, force: true }));

/** Starts a server on a free port. */
async function serve(...args) {
  const env = args.at(-1) instanceof Object ? args.pop() : {};
  const given = args.includes("--model") ? [] : ["--model", m3];
  const all = ["serve", "--port", "0", ...given, ...args];
  const child = launch(`${TARGET}/debug/gossamer`, all, { env: { ...process.env, ...env } });
  const [, url] = await child.printed(/^listening on (.*)$/m);
  return { child, url, port: Number(new URL(url).port), stop: () => child.stop() };
}

/** The error of a server that does not start. */
async function refused(...args) {
  const env = args.at(-1) instanceof Object ? args.pop() : {};
  const port = args.includes("--port") ? [] : ["--port", "0"];
  const all = ["serve", ...port, "--model", m3, ...args];
  const child = launch(`${TARGET}/debug/gossamer`, all, { env: { ...process.env, ...env } });
  const { code } = await child.closed();
  assert.notEqual(code, 0);
  return child.stderr;
}

/**
 * A connection that has sent some text; `answer()` is what has come back when the server has closed
 * it.
 */
function raw(port, text) {
  const socket = connect(port, "127.0.0.1");
  let got = "";
  socket.on("data", (data) => (got += data));
  socket.on("error", () => {});
  const closed = new Promise((done) => socket.on("close", done));
  socket.write(text);
  return { socket, got: () => got, answer: () => within(closed.then(() => got)) };
}

const head = (length, more = "") =>
  `POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n${more}\r\n`;
const post = (url, path, body, headers = {}) =>
  fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
const statusOf = (text) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
/** Bytes of memory that a process has. */
async function resident({ child }) {
  const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${child.pid}/status`, "utf8"));
  return Number(kilobytes) * 1024;
}

describe("keys", () => {
  test("that are empty are an error at start", async () => {
    assert.match(await refused("--api-key", ""), /an API key is empty/);
    assert.match(await refused("--api-key", " \n"), /an API key is empty/);
    assert.match(await refused("--api-key", "a", "--api-key", ""), /an API key is empty/);
    assert.match(await refused({ GOSSAMER_API_KEY: "" }), /an API key is empty/);
    assert.match(await refused("--api-key"), /a value is required/);
  });

  test("60 half-bodies without a key take no memory", async () => {
    const server = await serve("--api-key", "secret");
    const before = await resident(server);
    const half = Buffer.alloc(1 << 20, "a");
    const all = Array.from({ length: 60 }, () => {
      const one = raw(server.port, head(15 << 20));
      one.socket.write(half);
      return one;
    });
    for (const { got } of all) await until(() => statusOf(got()) === 401, "it is refused");
    assert.isBelow((await resident(server)) - before, 50 << 20);
    const right = await post(server.url, "/embed", { inputs: "a" }, { authorization: "Bearer secret" });
    assert.equal(right.status, 200);
    for (const { socket } of all) socket.destroy();
    await server.stop();
  });
});

describe("bodies", () => {
  test("have a limit each, 2 MiB unless told otherwise", async () => {
    const server = await serve();
    const large = await post(server.url, "/embed", { inputs: "a".repeat(2 << 20) });
    assert.equal(large.status, 413);
    assert.include((await large.json()).error, "at most 2097152 bytes");
    const { got, socket } = raw(server.port, head(1e12));
    await until(() => statusOf(got()) === 413, "it is refused by its length");
    socket.destroy();
    await server.stop();
  });

  test("have a limit of all together", async () => {
    const server = await serve("--max-bodies-bytes", "100000");
    const refusal = () => post(server.url, "/embed", { inputs: "a ".repeat(15_000) });
    let waiting;
    await until(async () => {
      // If the other request came first, this one had no room and was answered.
      if (waiting === undefined || waiting.got() !== "")
        waiting = raw(server.port, `${head(90_000)}${"a".repeat(80_000)}`);
      return (await refusal()).status === 429;
    }, "there is no room");
    waiting.socket.destroy();
    await until(async () => (await refusal()).status !== 429, "the room is given back");
    await server.stop();
  });

  test("that stop half-way are 400", async () => {
    const server = await serve();
    const { socket, answer } = raw(server.port, `${head(100)}{"inputs`);
    await pause(100);
    socket.end();
    assert.equal(statusOf(await answer()), 400);
    await server.stop();
  });

  test("that do not arrive in time are 408", async () => {
    const server = await serve("--read-timeout", "1");
    const { answer } = raw(server.port, `${head(100)}{`);
    const text = await answer();
    assert.equal(statusOf(text), 408);
    assert.match(text, /"error_type":"timeout"/);
    await server.stop();
    const whole = await serve("--timeout", "1");
    assert.equal(statusOf(await raw(whole.port, `${head(100)}{`).answer()), 408);
    await whole.stop();
  });

  test("compressed are 415, not UTF-8 are 400", async () => {
    const server = await serve();
    const gzip = await post(server.url, "/embed", { inputs: "a" }, { "content-encoding": "gzip" });
    assert.equal(gzip.status, 415);
    const body = Buffer.from('{"inputs": "caf\xe9"}', "latin1");
    const latin1 = await fetch(`${server.url}/embed`, { method: "POST", body });
    assert.equal(latin1.status, 400);
    await server.stop();
  });
});

describe("health", () => {
  test("is answered at once, at full load and without a key", async () => {
    const server = await serve("--max-requests", "1", "--threads", "1", "--api-key", "secret");
    const key = { authorization: "Bearer secret" };
    const busy = post(server.url, "/v1/embeddings", { input: MANY }, key);
    await until(async () => (await fetch(`${server.url}/ready`)).status === 503, "it is busy");
    const started = Date.now();
    for (const path of ["/health", "/health"]) assert.equal((await fetch(server.url + path)).status, 200);
    assert.isBelow(Date.now() - started, 1000);
    // Who asks for vectors is told at once, too.
    const next = await post(server.url, "/embed", { inputs: "a" }, key);
    assert.equal(next.status, 429);
    assert.equal((await busy).status, 200);
    assert.equal((await fetch(`${server.url}/ready`)).status, 200);
    await server.stop();
  });

  test("HEAD is GET without a body", async () => {
    const server = await serve();
    for (const path of ["/health", "/ready", "/info", "/v1/models", "/openapi.json"]) {
      const answer = await fetch(server.url + path, { method: "HEAD" });
      assert.equal(answer.status, 200, path);
      assert.equal(await answer.text(), "");
      const options = await fetch(server.url + path, { method: "OPTIONS" });
      assert.deepEqual([options.status, options.headers.get("allow")], [405, "GET"], path);
    }
    await server.stop();
    // A page of another origin may ask whether the server is ready.
    const open = await serve("--cors", "*");
    const headers = { origin: "https://page.example", "access-control-request-method": "GET" };
    const preflight = await fetch(`${open.url}/ready`, { method: "OPTIONS", headers });
    assert.equal(preflight.status, 204);
    await open.stop();
  });
});

describe("connections", () => {
  test("with half a head are closed in time, and so are idle ones", async () => {
    const server = await serve("--read-timeout", "1", "--idle-timeout", "1");
    assert.equal(await raw(server.port, "GET /health HTTP/1.1\r\nHost").answer(), "");
    assert.equal(await raw(server.port, "").answer(), "");
    const idle = await raw(server.port, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").answer();
    assert.equal(statusOf(idle), 200);
    await server.stop();
  });

  test("500 half heads lock nobody out of a server for 50", async () => {
    const server = await serve("--max-connections", "50");
    const half = Array.from({ length: 500 }, () =>
      raw(server.port, "POST /embed HTTP/1.1\r\nHost: x\r\nX: "),
    );
    for (let i = 0; i < 10; i++) {
      const answer = await post(server.url, "/embed", { inputs: "a" });
      assert.equal(answer.status, 200);
      await answer.json();
    }
    await until(() => half.filter(({ socket }) => !socket.destroyed).length <= 50, "the oldest are closed");
    for (const { socket } of half) socket.destroy();
    await server.stop();
  });

  test("keep to the limit of descriptors", async () => {
    const command = `ulimit -n 256; exec "$0" "$@"`;
    const args = ["-c", command, `${TARGET}/debug/gossamer`, "serve", "--port", "0", "--model", m3];
    const child = launch("/bin/sh", args);
    const [, url] = await child.printed(/^listening on (.*)$/m);
    const port = Number(new URL(url).port);
    const half = Array.from({ length: 400 }, () => raw(port, "POST /embed HTTP/1.1\r\n"));
    for (let i = 0; i < 5; i++) assert.equal((await fetch(`${url}/health`)).status, 200);
    for (const { socket } of half) socket.destroy();
    await child.stop();
  });
});

describe("the end", () => {
  test("comes after the deadline, whatever is half-open", async () => {
    const server = await serve("--shutdown-timeout", "1");
    const body = raw(server.port, `${head(100)}{`);
    const half = raw(server.port, "POST /embed HTTP/1.1\r\n");
    const nothing = raw(server.port, "");
    await pause(100);
    const started = Date.now();
    assert.equal(await server.stop(), 0);
    assert.isBelow(Date.now() - started, 5000);
    for (const { socket } of [body, half, nothing]) socket.destroy();
  });

  test("comes at once where nobody asks", async () => {
    const server = await serve("--shutdown-timeout", "30");
    await (await fetch(`${server.url}/health`)).text();
    const half = raw(server.port, "POST /embed HTTP/1.1\r\n");
    const started = Date.now();
    assert.equal(await server.stop(), 0);
    assert.isBelow(Date.now() - started, 5000);
    half.socket.destroy();
  });

  test("comes at once with a second signal", async () => {
    const server = await serve("--shutdown-timeout", "60");
    const { socket } = raw(server.port, `${head(100)}{`);
    await pause(100);
    server.child.kill("SIGTERM");
    await server.child.printed(/^ending/m);
    assert.equal(await server.child.stop("SIGINT", 5000), 130);
    socket.destroy();
  });
});

describe("models", () => {
  test("none named: the first that gives such vectors", async () => {
    const server = await serve("--model", SPLADE, "--model", BERT);
    for (const model of [undefined, "", "null"]) {
      const dense = await post(server.url, "/v1/embeddings", { input: "a", model });
      assert.equal(dense.status, 200);
      const sparse = await post(server.url, "/embed_sparse", { inputs: "a", model });
      assert.equal(sparse.status, 200);
      assert.property((await sparse.json())[0][0], "index");
    }
    assert.equal((await post(server.url, "/v1/embeddings", { input: "a", model: "other" })).status, 404);
    await server.stop();
  });

  test("are called by the last part of their folder", async () => {
    for (const folder of [m3, `${m3}/`, `${m3}/.`, `${m3}/../m3`]) {
      const server = await serve("--model", folder);
      const info = await (await fetch(`${server.url}/info`)).text();
      assert.equal(JSON.parse(info).model_id, "m3");
      assert.notInclude(info, scratch);
      await server.stop();
    }
  });

  test("the port is looked at before they are loaded", async () => {
    const server = await serve();
    const error = await refused("--port", String(server.port), "--model", "./nowhere");
    assert.match(error, /cannot be listened on/);
    await server.stop();
  });
});
