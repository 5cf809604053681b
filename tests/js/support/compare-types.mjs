/**
 * What of a released package's types the package of today breaks:
 * `node compare-types.mjs RELEASED [TODAY]`, two folders of unpacked packages. The compiler
 * decides: today's exports must be usable as the released ones.
 */

import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { launch } from "./child.mjs";
import { root } from "./server.mjs";

/** A type that an entry exports: a name in a list, or a declaration of types.d.ts. */
const LISTS = /export (type )?\{([^}]*)\}/g;
const DECLARED = /^export (?:interface|type|declare class) (\w+)(<)?/gm;

/**
 * Copies the declarations of a package. Private members go: two classes that have some are never
 * alike.
 */
async function copyTypes(from, to) {
  await cp(join(from, "dist"), to, {
    recursive: true,
    filter: (path) => !/\.[a-z]+$/.test(path) || path.endsWith(".d.ts"),
  });
  for (const name of await readdir(to, { recursive: true })) {
    if (!name.endsWith(".d.ts")) continue;
    const text = await readFile(join(to, name), "utf8");
    await writeFile(join(to, name), text.replace(/^\s*(#private|private [^;]*);$/gm, ""));
  }
}

/** Names of the types that a package exports, and whether each has parameters. */
async function typesOf(dist) {
  const names = new Map();
  for (const [, typesOnly, list] of (await readFile(join(dist, "exports.d.ts"), "utf8")).matchAll(LISTS)) {
    for (const entry of list.split(",").map((entry) => entry.trim())) {
      const [, type, name] = /^(type )?(\w+)$/.exec(entry) ?? [];
      if (name && (typesOnly || type)) names.set(name, undefined);
    }
  }
  for (const [, name, generic] of (await readFile(join(dist, "types.d.ts"), "utf8")).matchAll(DECLARED)) {
    names.set(name, Boolean(generic));
  }
  return names;
}

/** The compiler's complaints, a line each; none if nothing is broken. */
export async function brokenTypes(released, today = join(root, "pkg")) {
  const folder = await mkdtemp(join(tmpdir(), "gossamer-types-"));
  try {
    await mkdir(join(folder, "released"));
    await mkdir(join(folder, "today"));
    await copyTypes(released, join(folder, "released"));
    await copyTypes(today, join(folder, "today"));
    const lines = [];
    for (const entry of ["web", "node", "workerd", "inline"]) {
      lines.push(
        `import type * as released_${entry} from "./released/${entry}.js";`,
        `import type * as today_${entry} from "./today/${entry}.js";`,
        `declare const ${entry}: typeof today_${entry};`,
        `export const as_released_${entry}: typeof released_${entry} = ${entry};`,
      );
    }
    for (const [name, generic] of await typesOf(join(folder, "released"))) {
      lines.push(`import type { ${name} as Today${name} } from "./today/web.js";`);
      if (generic !== false) {
        lines.push(`export type { Today${name} };`);
        continue;
      }
      // A member that is gone: the compiler would let an options object without it pass.
      lines.push(
        `import type { ${name} as Released${name} } from "./released/web.js";`,
        `export const gone_${name}: Record<Exclude<keyof Released${name}, keyof Today${name}>, never> = {};`,
      );
    }
    await writeFile(join(folder, "check.ts"), `${lines.join("\n")}\n`);
    const options = {
      noEmit: true,
      strict: true,
      skipLibCheck: true,
      target: "es2024",
      module: "nodenext",
      types: [],
      lib: ["es2024", "dom", "esnext.disposable"],
    };
    const config = { compilerOptions: options, files: ["check.ts"] };
    await writeFile(join(folder, "package.json"), '{ "type": "module" }');
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(root, "node_modules/.bin/tsc");
    const compiler = launch(tsc, ["-p", folder, "--pretty", "false"]);
    const { code } = await compiler.closed();
    const complaints = compiler.stdout.split("\n").filter((line) => line.trim() !== "");
    if (code !== 0 && complaints.length === 0) throw compiler.failure(`ended with code ${code}`);
    return complaints;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [released, today] = process.argv.slice(2);
  if (!released) throw new Error("usage: node compare-types.mjs RELEASED [TODAY]");
  const lines = await brokenTypes(released, today);
  for (const line of lines) console.error(line);
  process.exitCode = lines.length > 0 ? 1 : 0;
}
