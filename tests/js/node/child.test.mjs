/** What the tests wait with: a wait ends, whatever a child does. */

import { EventEmitter } from "node:events";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";
import { first, launch, run, until, within } from "../support/child.mjs";

const node = (script, ...args) => launch(process.execPath, ["--input-type=module", "-e", script, ...args]);
const failure = (promise) =>
  promise.then(
    () => assert.fail("it did not fail"),
    (error) => error,
  );
const runs = (pid) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe("a child", () => {
  test("that goes on printing after what was waited for is read to its end", async () => {
    const child = node(`
      console.log("ready at http://127.0.0.1:1234/");
      for (let i = 0; i < 1000; i++) process.stdout.write("x".repeat(999) + "\\n");`);
    assert.equal((await child.printed(/http:\S+/))[0], "http://127.0.0.1:1234/");
    assert.deepEqual(await child.closed(), { code: 0, signal: null });
    assert.isAbove(child.stdout.length, 1e6);
  });

  test("that has ended is not waited for; what it has printed is found", async () => {
    const child = node(`console.log("one\\ntwo"); process.exitCode = 3`);
    await child.closed();
    assert.equal((await child.printed(/^two$/m))[0], "two");
    assert.deepEqual(await child.ended(), { code: 3, signal: null });
    assert.equal(await child.stop(), 3);
  });

  test("prints a line in pieces: it is matched as a whole", async () => {
    const child = node(`
      process.stdout.write("at port 12");
      setTimeout(() => console.log("34"), 300);`);
    assert.equal((await child.printed(/port (\d+)/))[1], "1234");
    await child.stop();
  });

  test("that ends without a word is an error that says all that it said", async () => {
    const child = node(`console.log("some words"); console.error("a reason"); process.exitCode = 3`);
    const error = await failure(child.printed(/listening/));
    assert.match(error.message, /does not print \/listening\/: it has ended\nsome words\na reason$/);
    assert.include(error, { code: 3, stdout: "some words\n", stderr: "a reason\n" });
  });

  test("that takes too long is killed, and the error says what it said", async () => {
    const child = node(`console.error("a reason"); setInterval(() => {}, 1000)`);
    await until(() => child.stderr, "it has started");
    const error = await failure(child.printed(/listening/, 200));
    assert.match(error.message, /nothing happens within 0.2 s\na reason$/);
    assert.deepEqual(await child.ended(), { code: null, signal: "SIGKILL" });
  });

  test("that takes no signal is killed, with what it has started", async () => {
    const child = node(`
      import { spawn } from "node:child_process";
      process.on("SIGTERM", () => {});
      console.log(spawn("sleep", ["60"], { stdio: "inherit" }).pid);
      setInterval(() => {}, 1000);`);
    const [pid] = await child.printed(/\d+/);
    await failure(child.stop("SIGTERM", 200));
    await until(() => !runs(Number(pid)), "the child's child has ended");
  });

  test("ends with the process that has started it, which does not wait for it", async () => {
    for (const end of [
      "",
      "process.kill(process.pid, 'SIGTERM');",
      "throw new Error('a test that fails');",
    ]) {
      const outer = node(`
        import { launch } from ${JSON.stringify(fileURLToPath(new URL("../support/child.mjs", import.meta.url)))};
        console.log(launch("sleep", ["60"]).pid);
        ${end}`);
      const [pid] = await outer.printed(/\d+/);
      await outer.ended();
      await until(() => !runs(Number(pid)), "the child's child has ended");
    }
  });

  test("that cannot be started is an error", async () => {
    assert.match((await failure(launch("/nowhere", []).printed(/x/))).message, /ENOENT/);
    assert.match((await failure(run("/nowhere", []))).message, /ENOENT/);
  });
});

describe("a program that is run", () => {
  test("reads its input", async () => {
    const { stdout } = await run("cat", [], { input: "ü".repeat(100_000) });
    assert.equal(stdout, "ü".repeat(100_000));
    // This one does not.
    await run("true", [], { input: "x".repeat(1e6) });
  });

  test("is an error if it fails, and if it takes too long", async () => {
    const error = await failure(run("sh", ["-c", "echo some words; exit 3"]));
    assert.match(error.message, /ended with code 3\nsome words$/);
    assert.match((await failure(run("sleep", ["60"], { timeout: 100 }))).message, /does not end/);
  });
});

describe("what is waited for", () => {
  test("is an error if it does not come", async () => {
    assert.match((await failure(within(new Promise(() => {}), 50, "no answer"))).message, /no answer within/);
    assert.match((await failure(until(() => false, "it is so", { milliseconds: 50 }))).message, /it is so/);
    const never = until(() => new Promise(() => {}), "it is so", { milliseconds: 50 });
    assert.match((await failure(never)).message, /it is so/);
    assert.match((await failure(first(new EventEmitter(), "message", 50))).message, /no “message”/);
  });

  test("is an error if what it is waited of ends or fails before", async () => {
    for (const [event, ...args] of [
      ["exit", 1],
      ["close", 1006],
      ["error", new Error("why")],
    ]) {
      const emitter = new EventEmitter();
      const waiting = failure(first(emitter, "message"));
      emitter.emit(event, ...args);
      assert.match((await waiting).message, /it ended \((1|1006)\) before|why/);
    }
  });

  test("leaves no listener behind", async () => {
    const emitter = new EventEmitter();
    const waiting = first(emitter, "message");
    emitter.emit("message", "hello");
    assert.equal(await waiting, "hello");
    assert.deepEqual(emitter.eventNames(), []);
  });
});
