/**
 * Runs suites: `node tests/js/run.mjs SUITE [OPTION OF node --test]…`. `--list` prints the names of
 * all, and what they need. It fails if there is a test that no suite has.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { files, problems, SUITES } from "./support/suites.mjs";

/**
 * Milliseconds for a file: an end for what waits for nothing, such as a server that is left open
 * when a hook fails.
 */
const LIMIT = 1_200_000;

const [suite, ...options] = process.argv.slice(2);
const found = problems();
if (suite === "--list") {
  const lines = Object.entries(SUITES).map(([name, { binaries }]) => (binaries ? `${name} binaries` : name));
  console.log(lines.join("\n"));
} else if (!(suite in SUITES)) {
  console.error(`usage: node tests/js/run.mjs ${Object.keys(SUITES).join("|")} [OPTION OF node --test]...`);
  process.exitCode = 2;
} else if (found.length > 0) {
  console.error(found.join("\n"));
  process.exitCode = 1;
} else {
  const serial = SUITES[suite].serial ? ["--test-concurrency=1"] : [];
  const args = ["--test", `--test-timeout=${LIMIT}`, ...serial, ...options, ...files(suite)];
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  // A terminal interrupts both; others know only this one.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGHUP", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  const [code] = await once(child, "exit");
  process.exitCode = code ?? 1;
}
