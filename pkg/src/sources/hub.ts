/** A model of the Hugging Face Hub, or of a mirror that has the Hub's addresses. */

import { checkAborted, GossamerError } from "../errors.js";
import type { Host } from "../host.js";
import type { LoadOptions } from "../types.js";
import { Download, type FileRequest } from "./download.js";
import { openUrl } from "./http.js";
import type { Absent, Identity, Listing, OpenFile, Source } from "./source.js";

const COMMIT = /^[0-9a-f]{40}$/;
/** Weight files to choose from: neither `model.safetensors`, which every model has, nor shards. */
const WEIGHTS = /(?<!^model|-of-\d{5})\.(safetensors|gguf|bin)$/i;
const HUB = "https://huggingface.co";

/** What the Hub says of a model with `?blobs=true`. */
interface Answer {
  sha: string;
  siblings: { rfilename: string; size?: number; blobId?: string; lfs?: { sha256?: string } | null }[];
}

/** A model of the Hub, or a part of it. */
export interface HubModel {
  id: string;
  revision?: string | undefined;
  subfolder?: string | undefined;
  /** In the folder. */
  file?: string | undefined;
}

/** `/org/name`, and what the Hub's pages and files have behind it: `/tree/<revision>/<folder>`, `/blob/<revision>/<file>`. */
const ADDRESS =
  /^\/([\w-][\w.-]*(?:\/[\w-][\w.-]*)??)(?:\/(tree|blob|resolve|raw)\/([^/]+)\/?((?:[^/]+\/)*)([^/]*))?\/?$/;

/** The model that an address of the Hub leads to, or of the endpoint in its place. */
export function hubAddress(url: URL, options: LoadOptions, host: Host): HubModel | undefined {
  const base = [HUB, "https://hf.co", endpointOf(options, host)].find((base) =>
    url.href.startsWith(`${base}/`),
  );
  const path = base && (url.origin + url.pathname).slice(base.length);
  const [, id, kind, revision, folder = "", name = ""] = ADDRESS.exec(path ?? "") ?? [];
  if (id === undefined) return undefined;
  // Files have endings, or are said to be some.
  const isFile = name !== "" && kind !== "tree" && (kind === "blob" || /\.\w+$/.test(name));
  return {
    id,
    revision: revision && decodeURIComponent(revision),
    subfolder: decodeURIComponent(isFile ? folder : folder + name) || undefined,
    // A small file of a model stands for all of it.
    file: isFile && WEIGHTS.test(name) ? decodeURIComponent(name) : undefined,
  };
}

/** Base address of the Hub or of a mirror, without a slash at its end. */
function endpointOf({ endpoint }: LoadOptions, host: Host): string {
  return (endpoint ?? (host.variable?.("HF_ENDPOINT") || HUB)).replace(/\/+$/, "");
}

export class HubSource implements Source {
  readonly model: string;
  readonly file: string | undefined;
  readonly #endpoint: string;
  readonly #headers: Record<string, string>;
  readonly #stallTimeout: number | undefined;
  readonly #unstored: boolean;
  readonly #folder: string;
  readonly #key: string;
  readonly #ref: string;
  #revision: string;
  #listed: Promise<Listing | undefined> | undefined;
  #listing: Listing | undefined;
  #away = false;
  /** The commit that files came from. */
  #commit: string | undefined;

  constructor(model: HubModel, options: LoadOptions, host: Host) {
    const { id } = model;
    const { token, subfolder = model.subfolder ?? "", file = model.file ?? "", stallTimeout } = options;
    const revision = options.revision ?? model.revision ?? "main";
    const bearer = token ?? (host.variable?.("HF_TOKEN") || undefined);
    this.model = id;
    this.file = file || undefined;
    this.#endpoint = endpointOf(options, host);
    this.#headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
    this.#stallTimeout = stallTimeout;
    this.#unstored = options.cache !== false;
    this.#folder = subfolder.replace(/\/*$/, subfolder === "" ? "" : "/");
    // Mirrors have the same commits.
    this.#key = ["hub", id, this.#folder + file].join("/").replace(/\/+$/, "");
    this.#ref = revision;
    this.#revision = revision;
  }

  /** The commit, once it is known. */
  get revision(): string {
    return this.#revision;
  }

  get identity(): Identity {
    const version = COMMIT.test(this.#revision) ? this.#revision : undefined;
    const hub = { id: this.model, folder: this.#folder };
    return { key: this.#key, version, ref: this.#ref, away: this.#away, hub };
  }

  get #request(): FileRequest {
    return { headers: this.#headers, stallTimeout: this.#stallTimeout, unstored: this.#unstored };
  }

  /** Mirrors need not have this: files are then asked for one by one. */
  list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    this.#listed ??= this.#list(signal);
    return this.#listed;
  }

  async #list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    const url = `${this.#endpoint}/api/models/${this.model}/revision/${encodeURIComponent(this.#revision)}?blobs=true`;
    const answer = await this.#ask(url, signal);
    if (!answer) return undefined;
    const files = answer.siblings.flatMap(({ rfilename, size, blobId, lfs }) => {
      if (!rfilename.startsWith(this.#folder)) return [];
      // Of a file that is stored apart, git has a pointer.
      const file = lfs ? { size, sha256: lfs.sha256 } : { size, oid: blobId };
      return [[rfilename.slice(this.#folder.length), file] as const];
    });
    // Whatever becomes of the branch, all files are of one commit.
    this.#revision = answer.sha;
    this.#listing = new Map(files);
    return this.#listing;
  }

  async open(file: string, signal: AbortSignal | undefined, start = 0): Promise<OpenFile | Absent> {
    const path = this.#folder + file;
    const url = `${this.#endpoint}/${this.model}/resolve/${encodeURIComponent(this.#revision)}/${path}`;
    if (this.#listing && !this.#listing.has(file)) return { absent: url };
    const { size } = this.#listing?.get(file) ?? {};
    const check = (response: Response) => this.#check(url, response);
    return openUrl(url, { ...this.#request, absent: [404], start, size, check }, signal);
  }

  /** Refuses files of different commits, which no listing kept together. */
  #check(url: string, response: Response): void {
    const commit = response.headers.get("x-repo-commit");
    if (commit === null) return;
    this.#commit ??= commit;
    if (commit !== this.#commit) {
      throw new GossamerError(
        "network",
        `${url} is of commit ${commit}, other files of the model of ${this.#commit}: it changed while it was loaded. Load it again.`,
        { status: 502 },
      );
    }
  }

  async #ask(url: string, signal: AbortSignal | undefined): Promise<Answer | undefined> {
    const download = new Download(url, this.#request, signal);
    try {
      const connection = await download.open();
      const { response } = connection;
      try {
        this.#away = response.status >= 500;
        if (!response.ok) return undefined;
        const answer: unknown = await response.json();
        return isAnswer(answer) ? answer : undefined;
      } finally {
        connection.close();
      }
    } catch {
      // What is wrong shows when files are asked for.
      checkAborted(signal);
      this.#away = true;
      return undefined;
    }
  }
}

function isAnswer(answer: unknown): answer is Answer {
  if (typeof answer !== "object" || answer === null) return false;
  const { sha, siblings } = answer as Partial<Answer>;
  const isFile = (file: Partial<Answer["siblings"][number]> | null) => typeof file?.rfilename === "string";
  return typeof sha === "string" && Array.isArray(siblings) && siblings.every(isFile);
}

/** Types of weights in GGUF files, best first: 8 bits are what we hold, more cost time, fewer cost accuracy. */
const GGUF_TYPES = ["q8_0", "f16", "bf16", "f32", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0"];

/** Weights in fewer bytes than `model.safetensors`, under the names that transformers gives to variants. */
const VARIANT = /^model\.(int8|q8|fp16|f16|bf16)\.safetensors$/;

/** The weight file to load, where it is not the one that every model has: the smallest that will do. */
export function chooseFile(listing: Listing, dtype: LoadOptions["dtype"]): string | undefined {
  if (!listing.has("config.json")) return onlyGguf(listing);
  const plain = listing.get("model.safetensors");
  if (plain && dtype === "f32") return undefined;
  const size = (name: string) => listing.get(name)?.size ?? Number.POSITIVE_INFINITY;
  const [smallest] = [...listing.keys()]
    .filter((name) => VARIANT.test(name))
    .sort((a, b) => size(a) - size(b));
  return smallest !== undefined && plain && size(smallest) >= size("model.safetensors")
    ? undefined
    : smallest;
}

/** The GGUF file to load of a model that has nothing else. */
function onlyGguf(listing: Listing): string | undefined {
  const names = [...listing.keys()];
  const rank = (name: string) => {
    const type = GGUF_TYPES.findIndex((type) => name.toLowerCase().includes(type));
    return type < 0 ? GGUF_TYPES.length : type;
  };
  const whole = names.filter((name) => /\.gguf$/i.test(name) && !/-\d{5}-of-\d{5}\./.test(name));
  return whole.sort((a, b) => rank(a) - rank(b))[0];
}
