/** The fenced blocks of the documentation. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./server.mjs";

const list = (folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name));

/** Pages that people read, by their paths. */
export const pages = [
  "README.md",
  "CONTRIBUTING.md",
  "pkg/README.md",
  ...list("docs"),
  ...readdirSync(join(root, "examples")).map((name) => `examples/${name}/README.md`),
];

/**
 * The blocks of a page: `{ line, language, code, before, after, browser }`. The last three are in HTML comments right before the
 * fence; see CONTRIBUTING.md.
 */
export function snippets(page) {
  const text = readFileSync(join(root, page), "utf8");
  const found = [];
  for (const match of text.matchAll(/((?:^<!--[\s\S]*?-->\n)*)^```(\w*)\n([\s\S]*?)^```$/gm)) {
    const [, comments, language, code] = match;
    const said = [...comments.matchAll(/^<!--\s*([\s\S]*?)\s*-->$/gm)].map(([, comment]) => comment);
    const part = (name) =>
      said.filter((comment) => comment.startsWith(name)).map((comment) => comment.slice(name.length));
    found.push({
      line: text.slice(0, match.index + comments.length).split("\n").length,
      language,
      code,
      before: part("before:").join("\n"),
      after: part("after:").join("\n"),
      browser: said.includes("browser"),
    });
  }
  const fences = text.match(/^\s*(```|~~~)/gm) ?? [];
  if (fences.length !== 2 * found.length) throw new Error(`${page} has a block that is not run`);
  return found;
}
