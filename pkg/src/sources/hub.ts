/** Models on the Hugging Face Hub, or on a mirror with the same addresses. */

import { checkAborted, type ErrorCode, GossamerError, withoutQueries } from "../errors.js";
import type { Host } from "../host.js";
import type { LoadOptions } from "../types.js";
import { type Opening, openUrl } from "./http.js";
import {
  type Absent,
  type HubModel,
  type Identity,
  type ListedFile,
  type Listing,
  type OpenFile,
  readAll,
  type Source,
} from "./source.js";
import { encodePath, isHash, isId, isPath, isSize } from "./trust.js";

/** Maximum size of a list of files in bytes. */
const LIST_BYTES = 1 << 25;
/**
 * Weight files that an address can name. `model.safetensors`, which every model has, and shards are
 * excluded.
 */
const WEIGHTS = /(?<!^model|-of-\d{5})\.(safetensors|gguf|bin)$|\.onnx$/i;
const HUB = "https://huggingface.co";

/** The Hub's answer about a model with `?blobs=true`. */
interface Answer {
  sha: unknown;
  siblings: unknown[];
}

/**
 * `/org/name`, optionally followed by the path of a page or file on the Hub:
 * `/tree/<revision>/<folder>`, `/blob/<revision>/<file>`.
 */
const ADDRESS =
  /^\/([\w-][\w.-]*(?:\/[\w-][\w.-]*)??)(?:\/(tree|blob|resolve|raw)\/([^/]+)\/?((?:[^/]+\/)*)([^/]*))?\/?$/;

/** The model that an address on the Hub, or on the endpoint that replaces it, refers to. */
export function hubAddress(url: URL, options: LoadOptions, host: Host): HubModel | undefined {
  const base = [HUB, "https://hf.co", endpointOf(options, host)].find((base) =>
    url.href.startsWith(`${base}/`),
  );
  const path = base && (url.origin + url.pathname).slice(base.length);
  const [, id, kind, revision, folder = "", name = ""] = ADDRESS.exec(path ?? "") ?? [];
  if (id === undefined) return undefined;
  // A name with an extension is a file, and so is every path after `/blob/`.
  const isFile = name !== "" && kind !== "tree" && (kind === "blob" || /\.\w+$/.test(name));
  // ONNX files are in a folder of their own within the model's folder.
  const above = isFile && /\.onnx$/i.test(name) ? /^(|.*\/)onnx\/$/.exec(folder)?.[1] : undefined;
  return {
    id,
    revision: revision && decode(revision),
    subfolder: decode(isFile ? (above ?? folder) : folder + name) || undefined,
    // The address of another file, such as config.json, means the whole model.
    file: isFile && WEIGHTS.test(name) ? decode(above === undefined ? name : `onnx/${name}`) : undefined,
  };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Base address of the Hub or of a mirror, without a trailing slash. */
function endpointOf({ endpoint }: LoadOptions, host: Host): string {
  const base = (endpoint ?? (host.variable?.("HF_ENDPOINT") || HUB)).trim().replace(/\/+$/, "");
  // A mirror on the page's own host may be given by its path.
  const page = globalThis.location?.href;
  return base.startsWith("/") && page !== undefined && URL.canParse(base, page)
    ? new URL(base, page).href
    : base;
}

/** The access token, cleaned like huggingface_hub does it. It must not appear in any message. */
function tokenOf({ token }: LoadOptions, host: Host): string | undefined {
  const clean = (token ?? host.variable?.("HF_TOKEN") ?? "").replace(/[\r\n]/g, "").trim();
  if (/[^!-~]/.test(clean)) {
    throw invalid("`token` or HF_TOKEN has characters that no token has", "invalid_input");
  }
  return clean || undefined;
}

export class HubSource implements Source {
  readonly isRemote = true;
  readonly model: string;
  readonly file: string | undefined;
  readonly #endpoint: string;
  readonly #stallTimeout: number | undefined;
  readonly #unstored: boolean;
  readonly #folder: string;
  readonly #key: string;
  readonly #ref: string;
  readonly #warn: LoadOptions["onWarning"];
  #headers: Record<string, string>;
  #revision: string;
  #listed: Promise<Listing | undefined> | undefined;
  #listing: Listing | undefined;
  #away = false;
  /** The commit that the files came from. */
  #commit: string | undefined;

  constructor(model: HubModel, options: LoadOptions, host: Host) {
    const { id } = model;
    const { subfolder = model.subfolder ?? "", file = model.file ?? "", stallTimeout } = options;
    const revision = options.revision ?? model.revision ?? "main";
    const bearer = tokenOf(options, host);
    const folder = subfolder.replace(/\/+$/, "");
    this.model = id;
    this.file = file || undefined;
    this.#endpoint = endpointOf(options, host);
    if (!isId(id)) throw invalid(`${JSON.stringify(id)} is no name of a Hub model`);
    if (!isPath(revision)) throw invalid(`${JSON.stringify(revision)} is no commit, branch or tag`);
    if (folder && !isPath(folder)) throw invalid(`${JSON.stringify(subfolder)} is no folder of a Hub model`);
    if (!/^https?:\/\/[^?#]+$/i.test(this.#endpoint) || !URL.canParse(this.#endpoint)) {
      const address = withoutQueries(this.#endpoint);
      throw invalid(`${JSON.stringify(address)} is no address of a Hub: see \`endpoint\` and HF_ENDPOINT`);
    }
    this.#headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
    this.#stallTimeout = stallTimeout;
    this.#unstored = options.cache !== false;
    this.#warn = options.onWarning;
    this.#folder = folder && `${folder}/`;
    // Without the endpoint: mirrors have the same commits.
    const key = ["hub", id, this.#folder + file].join("/").replace(/\/+$/, "");
    // The smallest download is another model in the cache.
    this.#key = options.download === "small" && !file ? `${key}?small` : key;
    this.#ref = revision;
    this.#revision = revision;
  }

  /** The commit, once it is known. */
  get revision(): string {
    return this.#revision;
  }

  get identity(): Identity {
    const version = isHash(this.#revision) ? this.#revision : undefined;
    const hub = { id: this.model, folder: this.#folder };
    return { key: this.#key, version, ref: this.#ref, away: this.#away, hub };
  }

  /** Lists the files. Mirrors may not support this; files are then requested without a listing. */
  list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    this.#listed ??= this.#list(signal);
    return this.#listed;
  }

  async #list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    const url = `${this.#endpoint}/api/models/${this.model}/revision/${encodeURIComponent(this.#revision)}?blobs=true`;
    const answer = await this.#ask(url, signal);
    if (!isAnswer(answer)) return undefined;
    const { sha, siblings } = answer;
    if (!isHash(sha)) throw malformed(url, "sha", sha);
    const files = siblings.flatMap((sibling) => {
      const [name, file] = listedFile(url, sibling);
      return name.startsWith(this.#folder) ? [[name.slice(this.#folder.length), file] as const] : [];
    });
    // From here on files are requested by commit, so all are from the same one even if the branch
    // moves.
    this.#revision = sha;
    // Names that are not valid paths are dropped: no file with such a name is ever requested.
    this.#listing = new Map(files.filter(([name]) => isPath(name)));
    return this.#listing;
  }

  async open(file: string, signal: AbortSignal | undefined, start = 0): Promise<OpenFile | Absent> {
    const path = encodePath(this.#folder + file);
    const url = `${this.#endpoint}/${this.model}/resolve/${encodeURIComponent(this.#revision)}/${path}`;
    if (this.#listing && !this.#listing.has(file)) return { absent: url };
    const { size, sha256, oid } = this.#listing?.get(file) ?? {};
    const hashed = (sha256 ?? oid) !== undefined;
    const check = (response: Response) => this.#check(url, response);
    return this.#open(url, { start, size, hashed, check }, signal);
  }

  /**
   * Sends a request with the token. If the Hub rejects the token, tries without it: public models
   * need none.
   */
  async #open(
    url: string,
    more: Partial<Opening>,
    signal: AbortSignal | undefined,
  ): Promise<OpenFile | Absent> {
    const common = { ...more, absent: [404], stallTimeout: this.#stallTimeout, unstored: this.#unstored };
    const headers = this.#headers;
    try {
      return await openUrl(url, { ...common, headers }, signal);
    } catch (error) {
      const isRefused = error instanceof GossamerError && error.code === "http" && error.status === 401;
      if (!isRefused || !headers.authorization) throw error;
      const file = await openUrl(url, { ...common, headers: {} }, signal).catch(() => {
        checkAborted(signal);
        throw error;
      });
      // A concurrent request may have removed the token already.
      if (this.#headers === headers) {
        this.#headers = {};
        this.#warn?.(
          new GossamerError(
            "http",
            `${this.model} is loaded without the access token (\`token\`, HF_TOKEN): ${error.message}`,
            { status: 401, cause: error },
          ),
        );
      }
      return file;
    }
  }

  /** Throws if files come from different commits, which can happen without a listing. */
  #check(url: string, response: Response): void {
    const commit = response.headers.get("x-repo-commit");
    if (commit === null) return;
    if (!isHash(commit)) throw malformed(url, "x-repo-commit", commit);
    this.#commit ??= commit;
    if (commit !== this.#commit) {
      throw new GossamerError(
        "network",
        `${url} is of commit ${commit}, other files of the model of ${this.#commit}: it changed while it was loaded. Load it again.`,
        { status: 502 },
      );
    }
  }

  async #ask(url: string, signal: AbortSignal | undefined): Promise<unknown> {
    try {
      const file = await this.#open(url, {}, signal);
      if ("absent" in file) return undefined;
      return JSON.parse(new TextDecoder().decode(await readAll(file, LIST_BYTES)));
    } catch (error) {
      // The error will show when files are requested.
      checkAborted(signal);
      this.#away = !(error instanceof GossamerError) || error.status >= 500;
      return undefined;
    }
  }
}

function isAnswer(answer: unknown): answer is Answer {
  const { sha, siblings } = (answer ?? {}) as Partial<Answer>;
  return sha !== undefined && Array.isArray(siblings);
}

/** A file's name and the checked facts about it. */
function listedFile(url: string, sibling: unknown): [string, ListedFile] {
  const { rfilename, size, blobId, lfs } = (sibling ?? {}) as Record<string, unknown>;
  if (typeof rfilename !== "string") throw malformed(url, "rfilename", rfilename);
  const field = <T>(name: string, value: unknown, is: (value: unknown) => value is T): T | undefined => {
    // Some servers send null for unknown values.
    const known = value ?? undefined;
    if (known === undefined || is(known)) return known;
    throw malformed(url, `${name} of ${JSON.stringify(rfilename.slice(0, 100))}`, value);
  };
  const isObject = (value: unknown) => typeof value === "object";
  const large = field("lfs", lfs, isObject as (value: unknown) => value is Record<string, unknown>);
  const whole = field("size", size, isSize);
  field("lfs.size", large?.size, isSize);
  const oid = field("blobId", blobId, (value) => isHash(value, 40));
  const sha256 = field("lfs.sha256", large?.sha256, (value) => isHash(value, 64));
  // For a file in Git LFS, git's hash is that of the pointer.
  return [rfilename, large ? { size: whole, sha256 } : { size: whole, oid }];
}

function malformed(url: string, field: string, value: unknown): GossamerError {
  const shown = JSON.stringify(value)?.slice(0, 100);
  return new GossamerError(
    "network",
    `${withoutQueries(url)} answered what no Hub does: ${field} is ${shown}. Check \`endpoint\` and HF_ENDPOINT.`,
    { status: 502 },
  );
}

function invalid(why: string, code: ErrorCode = "invalid_source"): GossamerError {
  return new GossamerError(code, `The model cannot be loaded: ${why}.`, { status: 400 });
}
