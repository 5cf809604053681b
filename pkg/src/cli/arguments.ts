/** Reads the arguments of a command. Errors have the words of the native command line. */

import { parseArgs } from "node:util";

/** An option of a command. */
export interface OptionSpec {
  /** Description in the help. */
  help: string;
  /** Name of its value, such as `SIZE`. An option without it is a flag. */
  value?: string;
  /** The values that are allowed; all if absent. */
  values?: readonly string[];
  short?: string;
  isRequired?: boolean;
}

/** A command. */
export interface CommandSpec {
  /** What it does. */
  about: string;
  /** Names of its positional arguments. `[TEXT]...`: any number. */
  positionals: readonly string[];
  options: Readonly<Record<string, OptionSpec>>;
}

/** The arguments of a command, checked. */
export interface Given {
  positionals: string[];
  /** Values of options. A flag has the value `""`. */
  options: Record<string, string | undefined>;
}

/** Wrong arguments. */
export class UsageError extends Error {
  readonly usage: string;

  constructor(message: string, usage: string) {
    super(message);
    this.usage = usage;
  }
}

/** Reads the arguments, or returns the help if they ask for it. Throws {@link UsageError}. */
export function readArguments(name: string, spec: CommandSpec, args: string[]): Given | string {
  const known: Record<string, OptionSpec> = {
    ...spec.options,
    help: { help: "Print help", short: "h" },
  };
  const usage = usageOf(name, spec);
  const refuse = (message: string) => {
    throw new UsageError(message, usage);
  };
  const { tokens, positionals } = parseArgs({
    args,
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      Object.entries(known).map(([option, { value, short }]) => [
        option,
        { type: value === undefined ? ("boolean" as const) : ("string" as const), ...(short && { short }) },
      ]),
    ),
  });
  const options: Given["options"] = {};
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name: option, rawName, value } = token;
    const found = Object.hasOwn(known, option) ? known[option] : undefined;
    if (!found) return refuse(`unexpected argument '${rawName}' found`);
    if (option === "help") return helpOf(name, spec, known);
    const shown = `--${option} <${found.value}>`;
    if (found.value === undefined && value !== undefined) {
      return refuse(`unexpected value '${value}' for '--${option}' found; no more were expected`);
    }
    if (found.value !== undefined && (value === undefined || value === "")) {
      return refuse(`a value is required for '${shown}' but none was supplied${listed(found)}`);
    }
    if (found.values && !found.values.includes(value as string)) {
      return refuse(`invalid value '${value}' for '${shown}'${listed(found)}`);
    }
    if (options[option] !== undefined) return refuse(`the argument '${shown}' cannot be used multiple times`);
    options[option] = value ?? "";
  }
  const missing = [
    ...Object.entries(spec.options)
      .filter(([option, { isRequired }]) => isRequired && options[option] === undefined)
      .map(([option, { value }]) => `--${option} <${value}>`),
    ...spec.positionals.filter((name, at) => !name.startsWith("[") && positionals[at] === undefined),
  ];
  if (missing.length > 0) {
    return refuse(`the following required arguments were not provided:\n  ${missing.join("\n  ")}`);
  }
  const isOpen = spec.positionals.some((name) => name.endsWith("..."));
  const extra = isOpen ? undefined : positionals[spec.positionals.length];
  if (extra !== undefined) return refuse(`unexpected argument '${extra}' found`);
  return { positionals, options };
}

/** Reads a number of bytes, such as `24MiB`, `25MB` or `1000`. */
export function readSize(text: string): number {
  const [, digits = "", unit = "", binary] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?$/i.exec(text) ?? [];
  const power = " kmgt".indexOf(unit.toLowerCase() || " ");
  return Math.floor(Number.parseFloat(digits) * (binary ? 1024 : 1000) ** power);
}

/** A number of bytes for readers: `23.6 MiB`. */
export function formatSize(bytes: number): string {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  return power === 0 ? `${bytes} B` : `${(bytes / 1024 ** power).toFixed(1)} ${" KMGT"[power]}iB`;
}

function listed({ values }: OptionSpec): string {
  return values ? `\n  [possible values: ${values.join(", ")}]` : "";
}

function usageOf(name: string, { options, positionals }: CommandSpec): string {
  const required = Object.entries(options)
    .filter(([, { isRequired }]) => isRequired)
    .map(([option, { value }]) => ` --${option} <${value}>`);
  return `${name} [OPTIONS]${required.join("")} ${positionals.join(" ")}`;
}

function helpOf(name: string, spec: CommandSpec, options: Readonly<Record<string, OptionSpec>>): string {
  const rows = Object.entries(options).map(([option, { value, short, help, values }]) => {
    const left = `${short ? `-${short}, ` : "    "}--${option}${value ? ` <${value}>` : ""}`;
    return `  ${left.padEnd(28)} ${help}${values ? ` [possible values: ${values.join(", ")}]` : ""}`;
  });
  return `${spec.about}\n\nUsage: ${usageOf(name, spec)}\n\nOptions:\n${rows.join("\n")}`;
}
