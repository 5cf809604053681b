/** Comments are wrapped at 100 columns. Tables and code in them may be wider. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const COLUMNS = 100;

/** The numbers of the lines that are too long. */
function tooLong(source) {
  let fenced = false;
  const found = [];
  for (const [at, line] of source.split("\n").entries()) {
    const comment = /^\s*(?:\/\/[/!]?|\/?\*\*?)(?: (.*))?$/.exec(line);
    const text = comment?.[1] ?? "";
    if (text.startsWith("```")) fenced = !fenced;
    if (comment && line.length > COLUMNS && !fenced && !text.startsWith("|")) found.push(at + 1);
  }
  return found;
}

for (const folder of ["src", "cli", "xtask", "pkg/src", "www/src"]) {
  test(`comments in ${folder} are wrapped`, () => {
    // pkg/src/wasm is generated.
    const isOurs = (file) => /\.(?:rs|ts|wgsl)$/.test(file) && !file.startsWith("wasm/");
    const files = readdirSync(join(ROOT, folder), { recursive: true }).filter(isOurs);
    assert.isAbove(files.length, 4);
    for (const file of files) {
      const path = join(folder, file);
      assert.deepEqual(tooLong(readFileSync(join(ROOT, path), "utf8")), [], path);
    }
  });
}

test("long comments are found", () => {
  const long = "x".repeat(COLUMNS);
  for (const start of ["//", "///", "//!", " *", "/**"])
    assert.deepEqual(tooLong(`a\n${start} ${long}`), [2]);
  assert.deepEqual(tooLong(`/// | ${long} |\nlet a = "${long}"; // b`), []);
  assert.deepEqual(tooLong(`/// \`\`\`\n/// ${long}\n/// \`\`\`\n/// ${long}`), [4]);
});
