/** A model of the Hugging Face Hub, or of a mirror that has the Hub's addresses. */

import { checkAborted, GossamerError } from "../errors.js";
import type { Host } from "../host.js";
import type { LoadOptions } from "../types.js";
import { Download } from "./download.js";
import { openUrl } from "./http.js";
import type { Absent, Listing, OpenFile, Source } from "./source.js";

const HUB = "https://huggingface.co";

/** What the Hub says of a model with `?blobs=true`. */
interface Answer {
  sha: string;
  siblings: { rfilename: string; size?: number; lfs?: { sha256?: string } | null }[];
}

export class HubSource implements Source {
  readonly model: string;
  readonly #endpoint: string;
  readonly #headers: Record<string, string>;
  readonly #folder: string;
  #revision: string;
  #listing: Listing | undefined;
  /** The commit that files came from. */
  #commit: string | undefined;

  constructor(id: string, revision: string, options: LoadOptions, host: Host) {
    const { endpoint, token, subfolder = "" } = options;
    const setting = (name: string) => host.variable?.(name) || undefined;
    const bearer = token ?? setting("HF_TOKEN");
    this.model = id;
    this.#endpoint = (endpoint ?? setting("HF_ENDPOINT") ?? HUB).replace(/\/+$/, "");
    this.#headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
    this.#folder = subfolder.replace(/\/*$/, subfolder === "" ? "" : "/");
    this.#revision = revision;
  }

  /** The commit, once it is known. */
  get revision(): string {
    return this.#revision;
  }

  /** Mirrors need not have this: files are then asked for one by one. */
  async list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    const url = `${this.#endpoint}/api/models/${this.model}/revision/${encodeURIComponent(this.#revision)}?blobs=true`;
    const answer = await this.#ask(url, signal);
    if (!answer) return undefined;
    const files = answer.siblings.flatMap(({ rfilename, size, lfs }) => {
      if (!rfilename.startsWith(this.#folder)) return [];
      return [[rfilename.slice(this.#folder.length), { size, sha256: lfs?.sha256 }] as const];
    });
    // Whatever becomes of the branch, all files are of one commit.
    this.#revision = answer.sha;
    this.#listing = new Map(files);
    return this.#listing;
  }

  async open(file: string, signal: AbortSignal | undefined): Promise<OpenFile | Absent> {
    const path = this.#folder + file;
    const url = `${this.#endpoint}/${this.model}/resolve/${encodeURIComponent(this.#revision)}/${path}`;
    if (this.#listing && !this.#listing.has(file)) return { absent: url };
    return openUrl(url, this.#headers, [404], signal, (response) => this.#check(url, response));
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
    const download = new Download(url, this.#headers, signal);
    try {
      const connection = await download.open();
      const { response } = connection;
      try {
        if (!response.ok) return undefined;
        const answer: unknown = await response.json();
        return isAnswer(answer) ? answer : undefined;
      } finally {
        connection.close();
      }
    } catch {
      // What is wrong shows when files are asked for.
      checkAborted(signal);
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
