/**
 * Child processes of the tests, and waiting for them and for other things that happen. Every wait
 * has a deadline. A wait for a child that fails says what the child has printed.
 *
 * The pipes of a child are read from its start to its end, so that it can always write. A child
 * does not keep this process alive by itself; only a wait for it does. It is killed with this
 * process, with all that it has started.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";

/**
 * Milliseconds that a wait lasts at most, unless it says otherwise: the machine may be busy with
 * other things.
 */
const PATIENCE = 60_000;
/** The same for a program that runs to its end. */
const RUN = 300_000;
/** Characters of a child's output that an error shows. */
const SHOWN = 8000;

/** Children whose pipes are open. */
const open = new Set();

function killAll() {
  for (const child of open) child.destroy();
}

function watchOurEnd() {
  process.once("exit", killAll);
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) {
    process.once(signal, () => {
      killAll();
      process.kill(process.pid, signal);
    });
  }
}
let watching = false;

/**
 * A child process that is running, or has run: `stdout` and `stderr` are what it has printed so
 * far.
 */
class Child {
  stdout = "";
  stderr = "";
  #process;
  #exited;
  #closed;
  /** Whether no more output comes. */
  #silent = false;
  /** Resolves at the next output, or at the end. */
  #news;
  #tell;

  constructor(path, args, { input, ...options }) {
    if (!watching) watchOurEnd();
    watching = true;
    const stdio = [input === undefined ? "ignore" : "pipe", "pipe", "pipe"];
    // A process group of its own, which is killed as a whole.
    const child = spawn(path, args, { ...options, stdio, detached: true });
    this.#process = child;
    this.#renew();
    // Now, not when somebody waits: events that have been do not come again.
    const failed = new Promise((_, reject) => child.once("error", reject));
    const at = (event) => new Promise((done) => child.once(event, (code, signal) => done({ code, signal })));
    this.#exited = Promise.race([failed, at("exit")]);
    this.#closed = Promise.race([failed, at("close")]);
    for (const end of [this.#exited, this.#closed]) end.catch(() => {});
    const ended = () => {
      open.delete(this);
      this.#silent = true;
      this.#renew();
    };
    this.#closed.then(ended, ended);
    open.add(this);
    child.unref();
    for (const name of ["stdout", "stderr"]) {
      child[name].unref();
      child[name].setEncoding("utf8").on("data", (text) => {
        this[name] += text;
        this.#renew();
      });
    }
    // A child that reads nothing breaks this pipe.
    child.stdin?.on("error", () => {}).end(input);
  }

  #renew() {
    this.#tell?.();
    this.#news = new Promise((done) => {
      this.#tell = done;
    });
  }

  /**
   * The first match among the whole lines of its standard output, whether they are there already or
   * come yet.
   */
  async printed(pattern, milliseconds = PATIENCE) {
    const look = async () => {
      for (;;) {
        const lines = this.#silent ? this.stdout : this.stdout.slice(0, this.stdout.lastIndexOf("\n") + 1);
        const match = pattern.exec(lines);
        if (match) return match;
        if (this.#silent) {
          await this.#closed;
          throw new Error("it has ended");
        }
        await this.#news;
      }
    };
    return this.#told(within(look(), milliseconds), `does not print ${pattern}`);
  }

  /** Its `{ code, signal }`, when it has ended. */
  ended(milliseconds = PATIENCE) {
    return this.#told(within(this.#exited, milliseconds), "does not end");
  }

  /** The same, when all of its output is there, too. */
  closed(milliseconds = PATIENCE) {
    return this.#told(within(this.#closed, milliseconds), "does not end");
  }

  get pid() {
    return this.#process.pid;
  }

  /** Sends a signal, if it runs. */
  kill(signal = "SIGTERM") {
    this.#process.kill(signal);
  }

  /** Ends it by a signal; its exit code, or null if it was the signal that has ended it. */
  async stop(signal = "SIGTERM", milliseconds = PATIENCE) {
    this.kill(signal);
    return (await this.ended(milliseconds)).code;
  }

  /** Kills it, and what it has started and left in its process group. */
  destroy() {
    const { pid } = this;
    // Without a pid it never ran.
    if (pid === undefined) return;
    try {
      process.kill(-pid, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }

  async #told(promise, what) {
    try {
      return await promise;
    } catch (error) {
      this.destroy();
      throw this.failure(`${what}: ${error.message}`);
    }
  }

  /** An error with all that it has said: `code`, `stdout` and `stderr` of the error are its own. */
  failure(what) {
    const { spawnargs, exitCode: code } = this.#process;
    const { stdout, stderr } = this;
    const shown = [stdout, stderr].map((text) => text.slice(-SHOWN).trimEnd()).filter(Boolean);
    const error = new Error([`${spawnargs.join(" ").slice(0, 500)}: ${what}`, ...shown].join("\n"));
    return Object.assign(error, { code, stdout, stderr });
  }
}

/** Starts a program. Options are those of `spawn`, and `input` for its standard input. */
export function launch(path, args, options = {}) {
  return new Child(path, args, options);
}

/**
 * Runs a program to its end; its `{ stdout, stderr }`. Anything but exit code 0, and a run longer
 * than `timeout` milliseconds, is an error.
 */
export async function run(path, args, { timeout = RUN, ...options } = {}) {
  const child = launch(path, args, options);
  const { code, signal } = await child.closed(timeout);
  if (code !== 0) throw child.failure(`ended with ${signal ?? `code ${code}`}`);
  return { stdout: child.stdout, stderr: child.stderr };
}

/** What a promise resolves to; an error if it takes longer. */
export async function within(promise, milliseconds = PATIENCE, what = "nothing happens") {
  let timer;
  const late = new Promise((_, reject) => {
    const error = new Error(`${what} within ${milliseconds / 1000} s`);
    timer = setTimeout(() => reject(error), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks until the answer is true, and gives it. */
export async function until(ask, what, { milliseconds = PATIENCE, every = 50 } = {}) {
  const look = async () => {
    for (;;) {
      const answer = await ask();
      if (answer || stopped) return answer;
      await pause(every);
    }
  };
  let stopped = false;
  try {
    return await within(look(), milliseconds, `${what}: not so`);
  } finally {
    stopped = true;
  }
}

/**
 * The first event of that name of a worker, a socket or a server, which must be yet to come: its
 * first argument. An error if the emitter fails or ends before.
 */
export async function first(emitter, event, milliseconds = PATIENCE) {
  const stop = new AbortController();
  const { signal } = stop;
  const ended = async (name) => {
    const [why] = await once(emitter, name, { signal });
    throw new Error(`it ended (${why}) before “${event}”`);
  };
  try {
    const ends = ["exit", "close"].filter((name) => name !== event);
    const all = [once(emitter, event, { signal }), ...ends.map(ended)];
    const [value] = await within(Promise.race(all), milliseconds, `there is no “${event}”`);
    return value;
  } finally {
    stop.abort();
  }
}

/**
 * Has a server report an error of an answer to its client. That a client has gone away in the
 * middle is no error of the server.
 */
export const failing = (response) => (error) => {
  if (response.headersSent) response.destroy();
  else response.writeHead(500).end(String(error));
};

/** Starts a server on a free port of the loopback interface; the port. */
export async function listen(server) {
  server.listen(0, "127.0.0.1");
  await first(server, "listening");
  return server.address().port;
}
