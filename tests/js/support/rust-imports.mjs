/**
 * Which files of a Rust crate use which. It reads `use` declarations and paths that begin with
 * `crate`, `self`, `super` or a module of the file; code under `#[cfg(test)]` is left out.
 *
 * A name is followed to the file that defines it, so `pub use` in a `mod.rs` is no dependency. Nor
 * is what a module uses of its own children: they are its parts, and may use what it defines for
 * them.
 */

import { readFileSync } from "node:fs";
import { basename, dirname, relative, sep } from "node:path";
import { filesIn } from "./imports.mjs";

/** Rust files of a crate's `src` folder → the files of that folder that each uses. */
export function rustImports(folder) {
  const modules = new Map();
  for (const file of filesIn(folder, ".rs")) {
    const path = moduleOf(relative(folder, file));
    modules.set(path.join("::"), { file, path, code: withoutTests(plainCode(readFileSync(file, "utf8"))) });
  }
  for (const module of modules.values()) Object.assign(module, namesOf(module, modules));
  // Files whose `mod` declaration is under #[cfg(test)].
  for (const [key, { path }] of modules) {
    const parent = modules.get(path.slice(0, -1).join("::"));
    if (path.length > 0 && !parent?.children.has(path.at(-1))) modules.delete(key);
  }
  return new Map(
    [...modules.values()].map((module) => {
      const used = module.paths
        .map((path) => definedIn(path, modules))
        .filter((other) => other !== undefined);
      const others = used.filter((other) => other !== module && !isChild(other, module));
      return [module.file, new Set(others.map(({ file }) => file))];
    }),
  );
}

/** Whether a module is declared by another one. */
function isChild({ path }, parent) {
  return path.length > 0 && path.slice(0, -1).join("::") === parent.path.join("::");
}

/** `a/b.rs` and `a/b/mod.rs` → `["a", "b"]`. */
function moduleOf(file) {
  const folders = dirname(file)
    .split(sep)
    .filter((part) => part !== ".");
  const name = basename(file, ".rs");
  return ["lib", "main", "mod"].includes(name) ? folders : [...folders, name];
}

/** Code in which comments and the contents of strings are blank. */
function plainCode(code) {
  const tokens =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|\bb?r(#*)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"|'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'/g;
  return code.replace(tokens, (token) => (token.startsWith("/") ? " " : '""'));
}

/** Code without the items that are only compiled for tests. */
function withoutTests(code) {
  for (;;) {
    const start = /#\[cfg\((?:test\)|all\(test\b[^\]]*)\]/.exec(code)?.index;
    if (start === undefined) return code;
    code = code.slice(0, start) + code.slice(endOfItem(code, start));
  }
}

/** Where the item ends that begins, with its attributes, at `start`. */
function endOfItem(code, start) {
  let depth = 0;
  for (let at = start; at < code.length; at++) {
    if ("([{".includes(code[at])) depth++;
    else if (")]}".includes(code[at])) {
      depth--;
      if (depth === 0 && code[at] === "}") return at + 1;
    } else if (depth === 0 && code[at] === ";") return at + 1;
  }
  return code.length;
}

/**
 * What a module declares and uses: child modules, names that `use` brings in, glob imports, and all
 * paths.
 */
function namesOf({ path, code }, modules) {
  const children = new Set([...code.matchAll(/\bmod\s+(\w+)\s*;/g)].map(([, name]) => name));
  const absolute = (segments) => {
    const [first, ...rest] = segments;
    if (first === "crate") return rest;
    if (first === "self") return [...path, ...rest];
    if (first === "super") return absoluteSuper(path, segments);
    return children.has(first) ? [...path, ...segments] : undefined;
  };
  const names = new Map();
  const globs = [];
  const paths = [];
  for (const [, isPublic, tree] of code.matchAll(/\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);/g)) {
    for (const { segments, name } of leaves(tree)) {
      const target = absolute(segments);
      if (!target) continue;
      if (name === "*") globs.push(target);
      else names.set(name, target);
      if (!isPublic) paths.push(target);
    }
  }
  const rest = code.replace(/\b(?:pub(?:\([^)]*\))?\s+)?use\s+[^;]+;/g, "");
  const starts = ["crate", "self", "super", ...children].join("|");
  for (const [found] of rest.matchAll(new RegExp(`(?<![\\w:.'])(?:${starts})(?:::\\w+)+`, "g"))) {
    const target = absolute(found.split("::"));
    if (target) paths.push(target);
  }
  const defines = (name) =>
    new RegExp(
      `\\b(?:struct|enum|trait|type|fn|const|static|union|macro_rules!)\\s+(?:mut\\s+)?${name}\\b`,
    ).test(rest);
  return {
    children,
    names,
    globs,
    paths,
    defines,
    has: (name) => children.has(name) && modules.has([...path, name].join("::")),
  };
}

function absoluteSuper(path, segments) {
  const ups = segments.findIndex((segment) => segment !== "super");
  const rest = ups < 0 ? [] : segments.slice(ups);
  return [...path.slice(0, path.length - (ups < 0 ? segments.length : ups)), ...rest];
}

/** The paths of a `use` tree: `a::{b, c as d, e::*}`. */
function* leaves(tree, before = []) {
  const text = tree.trim();
  const open = text.indexOf("{");
  if (open < 0) {
    const [path, alias] = text.split(/\s+as\s+/);
    const segments = [...before, ...path.split("::").map((part) => part.trim())].filter(
      (part) => part !== "",
    );
    const last = segments.at(-1);
    if (last === "*") yield { segments: segments.slice(0, -1), name: "*" };
    else if (last === "self" && segments.length > 1)
      yield { segments: segments.slice(0, -1), name: alias ?? segments.at(-2) };
    else yield { segments, name: alias ?? last };
    return;
  }
  const prefix = text
    .slice(0, open)
    .split("::")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  let depth = 0;
  let start = open + 1;
  for (let at = open; at < text.length; at++) {
    if (text[at] === "{") depth++;
    if (text[at] === "}") depth--;
    const ends = (text[at] === "," && depth === 1) || (text[at] === "}" && depth === 0);
    if (!ends) continue;
    const part = text.slice(start, at).trim();
    if (part !== "") yield* leaves(part, [...before, ...prefix]);
    start = at + 1;
    if (depth === 0) return;
  }
}

/** The module that defines what a path names. */
function definedIn(path, modules, seen = new Set()) {
  const key = path.join("::");
  if (seen.has(key)) return undefined;
  seen.add(key);
  let module = modules.get("");
  let at = 0;
  while (at < path.length && module.has(path[at])) module = modules.get(path.slice(0, ++at).join("::"));
  const name = path[at];
  if (name === undefined || module.defines(name)) return module;
  const alias = module.names.get(name);
  if (alias) return definedIn([...alias, ...path.slice(at + 1)], modules, seen) ?? module;
  for (const glob of module.globs) {
    const found = definedIn([...glob, name], modules, seen);
    if (found?.defines(name)) return found;
  }
  return module;
}
