/** Other JavaScript runtimes, as npm installed them. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { root } from "./server.mjs";

const bin = (path) => [`${root}node_modules/${path}`].find(existsSync);

/** Name → the command and its first arguments; undefined where there is none for this platform. */
export const runtimes = {
  [`Node ${process.versions.node}`]: [process.execPath],
  "Node 24": command(bin(`node-${process.platform}-${process.arch}/bin/node`)),
  Deno: command(
    bin(".bin/deno"),
    "run",
    "--no-prompt",
    "--allow-read",
    "--allow-env",
    "--allow-net=127.0.0.1",
  ),
  Bun: command(bin(".bin/bun"), "run"),
};

function command(path, ...args) {
  return path && [path, ...args];
}

/** Runs a script; its standard output, read as JSON. */
export async function runJson([path, ...args], script, scriptArgs = [], options = {}) {
  const { stdout } = await promisify(execFile)(path, [...args, script, ...scriptArgs], options);
  return JSON.parse(stdout);
}
