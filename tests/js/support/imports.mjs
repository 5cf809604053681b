/** Which source files import which, and the circles among them. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

/** All files of a folder whose names end with `ending`. */
export function filesIn(folder, ending) {
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(ending) && statSync(join(folder, name)).isFile())
    .map((name) => join(folder, name))
    .sort();
}

/** TypeScript files of a folder → the files of that folder that each imports, types included. */
export function typescriptImports(folder) {
  const files = filesIn(folder, ".ts");
  return new Map(files.map((file) => [file, typescriptOf(file, new Set(files))]));
}

function typescriptOf(file, known) {
  const code = readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const imports = new Set();
  // `import … from "./x.js"`, `export … from "./x.js"`, `import "./x.js"` and `import("./x.js")`.
  for (const [, name] of code.matchAll(/\b(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)) {
    const path = resolve(dirname(file), name);
    const target = [path, path.replace(/\.js$/, ".ts"), path.replace(/\.js$/, ".d.ts")].find((path) =>
      known.has(path),
    );
    // Built files and other kinds of files import nothing; that they exist is for tsc to check.
    if (target !== undefined) imports.add(target);
  }
  return imports;
}

/**
 * Circles of a graph: one list of files for each group of files that reach each other (Tarjan's
 * strongly connected components), and for each file that imports itself.
 */
export function circles(graph) {
  const index = new Map();
  const low = new Map();
  const stack = [];
  const found = [];
  const visit = (file) => {
    index.set(file, index.size);
    low.set(file, index.get(file));
    stack.push(file);
    for (const next of graph.get(file) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(file, Math.min(low.get(file), low.get(next)));
    }
    if (low.get(file) !== index.get(file)) return;
    const group = stack.splice(stack.indexOf(file));
    if (group.length > 1 || graph.get(file)?.has(file)) found.push(group.sort());
  };
  for (const file of graph.keys()) if (!index.has(file)) visit(file);
  return found;
}

/** A sentence for each circle, with the imports that make it. */
export function described(graph, root) {
  const name = (file) => relative(root, file);
  return circles(graph).map((group) => {
    const edges = group.flatMap((file) =>
      [...graph.get(file)]
        .filter((next) => group.includes(next))
        .map((next) => `  ${name(file)} → ${name(next)}`),
    );
    return `${group.length} files import each other in a circle:\n${edges.join("\n")}`;
  });
}
