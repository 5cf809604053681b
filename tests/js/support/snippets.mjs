/** The fenced blocks of the documentation. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { root } from "./server.mjs";

const list = (folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name));

/** Links of a page to files and headings of the repository that are not there. */
export function brokenLinks(page) {
  const text = readFileSync(join(root, page), "utf8");
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link);
  return links.filter((link) => !/^[a-z]+:/.test(link) && !leads(page, link));
}

function leads(page, link) {
  const [path, anchor] = link.split("#");
  const file = path === "" ? page : join(dirname(page), path);
  if (!existsSync(join(root, file))) return false;
  return anchor === undefined || anchors(readFileSync(join(root, file), "utf8")).includes(anchor);
}

/** Of headings, as GitHub makes them. */
function anchors(text) {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading.toLowerCase());
  return headings.map((heading) => heading.replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-"));
}

/** Pages that people read, by their paths. */
export const pages = [
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "benches/RESULTS.md",
  "pkg/README.md",
  "tests/README.md",
  "tests/fixtures/README.md",
  ...list("docs"),
  ...readdirSync(join(root, "examples"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `examples/${name}/README.md`),
];

/**
 * The blocks of a page: `{ line, language, code, before, after, browser, example, node }`. All but
 * the first three are in HTML comments right before the fence; see CONTRIBUTING.md.
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
      example: part("example:").join("").trim(),
      node: part("node:").join("").trim(),
    });
  }
  const fences = text.match(/^\s*(```|~~~)/gm) ?? [];
  if (fences.length !== 2 * found.length) throw new Error(`${page} has a block that is not run`);
  return found;
}
