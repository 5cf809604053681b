#!/usr/bin/env node
/** `gossamer-embed`: the package on the command line, in Node, Deno and Bun. */

import { readFile } from "node:fs/promises";
import { readArguments, UsageError } from "./cli/arguments.js";
import { EMBED, embed } from "./cli/embed.js";
import { INFO, info } from "./cli/info.js";
import { QUANTIZE, quantize } from "./cli/quantize.js";
// Left out of the bundle: this is the module that other programs import, too.
import { load } from "./node.js";

const NAME = "gossamer-embed";

const HELP = `Dense and sparse text embeddings

Usage: ${NAME} <COMMAND>

Commands:
  quantize  Write a model with weights of few bits: smaller, and faster to load
  embed     Write the vectors of texts as JSON lines
  info      Show what would be loaded: files, bytes and memory

Options:
  -h, --help     Print help, also of a command
  -V, --version  Print version`;

const COMMANDS = {
  quantize: { spec: QUANTIZE, run: quantize },
  embed: { spec: EMBED, run: embed },
  info: { spec: INFO, run: info },
};

/** Runs the command that the arguments name. Returns the exit status. */
async function main([name = "", ...args]: string[]): Promise<number> {
  if (["-h", "--help", "help"].includes(name)) return print(HELP);
  if (["-V", "--version"].includes(name)) return print(`${NAME} ${await version()}`);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => stop.abort(signal));
  try {
    if (!Object.hasOwn(COMMANDS, name)) {
      const why = name === "" ? `'${NAME}' requires a subcommand` : `unrecognized subcommand '${name}'`;
      throw new UsageError(
        `${why}\n  [subcommands: ${Object.keys(COMMANDS).join(", ")}]`,
        `${NAME} <COMMAND>`,
      );
    }
    const { spec, run } = COMMANDS[name as keyof typeof COMMANDS];
    const given = readArguments(`${NAME} ${name}`, spec, args);
    if (typeof given === "string") return print(given);
    await run(load, given, stop.signal);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(
        `error: ${error.message}\n\nUsage: ${error.usage}\n\nFor more information, try '--help'.`,
      );
      return 2;
    }
    if (stop.signal.aborted) return 128 + (stop.signal.reason === "SIGINT" ? 2 : 15);
    console.error(`${NAME}: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
}

function print(text: string): number {
  console.log(text);
  return 0;
}

async function version(): Promise<string> {
  const manifest = await readFile(new URL("../package.json", import.meta.url), "utf8");
  return JSON.parse(manifest).version;
}

// A reader that has seen enough, such as `head`, closes the pipe.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});
main(process.argv.slice(2)).then((status) => {
  process.exitCode = status;
});
