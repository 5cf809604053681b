/** A model of the Hugging Face Hub, or of a mirror that has the Hub's addresses. */

import { checkAborted, GossamerError } from "../errors.js";
import type { Host } from "../host.js";
import type { LoadOptions } from "../types.js";
import { Download, type FileRequest } from "./download.js";
import { openUrl } from "./http.js";
import type { Absent, Identity, Listing, OpenFile, Source } from "./source.js";

const COMMIT = /^[0-9a-f]{40}$/;
const HUB = "https://huggingface.co";

/** What the Hub says of a model with `?blobs=true`. */
interface Answer {
  sha: string;
  siblings: { rfilename: string; size?: number; blobId?: string; lfs?: { sha256?: string } | null }[];
}

export class HubSource implements Source {
  readonly model: string;
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

  constructor(id: string, revision: string, options: LoadOptions, host: Host) {
    const { endpoint, token, subfolder = "", file = "", stallTimeout } = options;
    const setting = (name: string) => host.variable?.(name) || undefined;
    const bearer = token ?? setting("HF_TOKEN");
    this.model = id;
    this.#endpoint = (endpoint ?? setting("HF_ENDPOINT") ?? HUB).replace(/\/+$/, "");
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

/** The GGUF file to load of a model that has nothing else. */
export function onlyGguf(listing: Listing): string | undefined {
  const names = [...listing.keys()];
  if (names.includes("config.json")) return undefined;
  const rank = (name: string) => {
    const type = GGUF_TYPES.findIndex((type) => name.toLowerCase().includes(type));
    return type < 0 ? GGUF_TYPES.length : type;
  };
  const whole = names.filter((name) => /\.gguf$/i.test(name) && !/-\d{5}-of-\d{5}\./.test(name));
  return whole.sort((a, b) => rank(a) - rank(b))[0];
}
