/** Other JavaScript runtimes, as npm installed them. */

import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { run } from "./child.mjs";
import { root } from "./server.mjs";

const bin = (path) => [`${root}node_modules/${path}`].find(existsSync);

/** Name → the command and its first arguments; undefined where there is none for this platform. */
export const runtimes = {
  [`Node ${process.versions.node}`]: [process.execPath],
  // Long-term support, and the newest.
  "Node 24": command(bin(`node-${process.platform}-${process.arch}/bin/node`)),
  "Node 26": command(bin(`node-26-${process.platform}-${process.arch}/bin/node`)),
  // No more than it uses: its own files and the model's, the settings of the Hub, the cache, and
  // where models come from.
  Deno: command(
    bin(".bin/deno"),
    "run",
    "--no-prompt",
    "--allow-read",
    `--allow-env=${["HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"]}`,
    `--allow-write=${tmpdir()}`,
    "--allow-net=127.0.0.1",
  ),
  Bun: command(bin(".bin/bun"), "run"),
};

function command(path, ...args) {
  return path && [path, ...args];
}

/**
 * Runs a script, which may be long: all shared cases at once. Its standard output, read as JSON.
 */
export async function runJson([path, ...args], script, scriptArgs = [], options = {}) {
  const { stdout } = await run(path, [...args, script, ...scriptArgs], { timeout: 1_200_000, ...options });
  return JSON.parse(stdout);
}
