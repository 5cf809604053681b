/**
 * The suites: folders of tests/js with `*.test.mjs` files, which are found, not listed.
 * tests/README.md says what goes where.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * In the order in which `cargo xtask test` begins them, the longest ones first. `serial`: one file
 * at a time, since each keeps the machine busy; `binaries`: runs what `cargo test` builds.
 */
export const SUITES = {
  browsers: { serial: true },
  node: {},
  gpu: {},
  package: { serial: true },
  demo: { serial: true },
  server: { binaries: true },
  bundlers: { serial: true },
  docs: { binaries: true },
};

export const tests = fileURLToPath(new URL("..", import.meta.url));

/** The files of a suite. */
export function files(suite, folder = tests) {
  const names = readdirSync(join(folder, suite)).filter((name) => name.endsWith(".test.mjs"));
  return names.sort().map((name) => join(folder, suite, name));
}

/** What would silently not run: a sentence for each. */
export function problems(folder = tests, suites = Object.keys(SUITES)) {
  const scripts = JSON.parse(readFileSync(join(folder, "../../package.json"), "utf8")).scripts;
  const found = [];
  for (const suite of suites) {
    if (!existsSync(join(folder, suite)) || files(suite, folder).length === 0)
      found.push(`tests/js/${suite} has no *.test.mjs file`);
    if (!scripts[`test:${suite}`]?.endsWith(` ${suite}`))
      found.push(`package.json has no script test:${suite} that runs this suite`);
  }
  for (const path of walk(folder)) {
    const parts = relative(folder, path).split(sep);
    const name = parts.at(-1);
    const place = `tests/js/${parts.join("/")}`;
    // What looks like a test, and whatever is a script beside tests.
    const looks = /(^|[._-])(test|spec)s?\.[cm]?[jt]sx?$/.test(name);
    const beside = parts.length === 2 && suites.includes(parts[0]) && /\.[cm]?[jt]sx?$/.test(name);
    if (!looks && !beside) continue;
    if (parts.length !== 2 || !suites.includes(parts[0]))
      found.push(`${place} is in no suite: move it to tests/js/{${suites}}`);
    else if (!name.endsWith(".test.mjs"))
      found.push(`${place} is not run: call it *.test.mjs, or move it to tests/js/support if it is no test`);
  }
  return found;
}

function* walk(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) yield path;
    // Installed packages, and the copies that docs.test.mjs makes of examples.
    else if (entry.name !== "node_modules" && !entry.name.startsWith("snippets-")) yield* walk(path);
  }
}
