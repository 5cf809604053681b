/** A model with a LoRA adapter: of another place, or one of the model's own. */

import type { Absent, AdapterFolder, Identity, Listing, OpenFile, Source } from "./source.js";

/** The folder under which the files of an adapter of another place are asked for. */
const FOLDER = "@adapter";

/** The name of an adapter in the model's own folder `adapters`, if the option is one. */
export function ownAdapter(adapter: unknown): string | undefined {
  return typeof adapter === "string" && /^[\w.-]*\w$/.test(adapter) ? adapter : undefined;
}

/** The files of a model and of an adapter. */
export class Adapted implements Source {
  readonly base: Source;
  /** Where the adapter is, unless it is one of the model's own. */
  readonly other: Source | undefined;
  readonly adapter: AdapterFolder;

  constructor(base: Source, adapter: Source | string) {
    const isOwn = typeof adapter === "string";
    this.base = base;
    this.other = isOwn ? undefined : adapter;
    this.adapter = isOwn
      ? { name: adapter, folder: `adapters/${adapter}` }
      : { name: adapter.model, folder: FOLDER };
  }

  get model(): string {
    return this.base.model;
  }

  get isRemote(): boolean | undefined {
    return this.base.isRemote;
  }

  get revision(): string | undefined {
    return this.base.revision;
  }

  get file(): string | undefined {
    return this.base.file;
  }

  get names(): readonly string[] | undefined {
    return this.base.names;
  }

  /** Of the two together; none if either may change unnoticed. */
  get identity(): Identity | undefined {
    const own = this.base.identity;
    if (!this.other) return own && { ...own, key: `${own.key}+${this.adapter.folder}` };
    const other = this.other.identity;
    if (!own || !other) return undefined;
    const both = (a: string | undefined, b: string | undefined) =>
      a === undefined || b === undefined ? undefined : `${a}+${b}`;
    return {
      key: `${own.key}+${other.key}`,
      version: both(own.version, other.version),
      ref: both(own.ref, other.ref),
      away: own.away === true || other.away === true,
    };
  }

  async list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    const [own, others] = await Promise.all([this.base.list?.(signal), this.other?.list?.(signal)]);
    if (!own || (this.other && !others)) return undefined;
    const prefixed = [...(others ?? [])].map(([name, file]) => [`${FOLDER}/${name}`, file] as const);
    return new Map([...own, ...prefixed]);
  }

  open(file: string, signal: AbortSignal | undefined, start?: number): Promise<OpenFile | Absent> {
    return this.other && file.startsWith(`${FOLDER}/`)
      ? this.other.open(file.slice(FOLDER.length + 1), signal, start)
      : this.base.open(file, signal, start);
  }
}
