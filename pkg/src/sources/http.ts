/** Files by HTTP. */

import { GossamerError, withoutQueries } from "../errors.js";
import type { LoadOptions } from "../types.js";
import { type Connection, Download, type FileRequest, isExtensions } from "./download.js";
import type { Absent, OpenFile, Source } from "./source.js";
import { encodePath } from "./trust.js";

/** The most characters of a server's own words. */
const WORDS = 300;

/** Milliseconds that they are waited for. */
const PATIENCE = 2000;

/** A folder of files at `url`, which never change under what the user calls their revision. */
export function folderSource(url: URL, { revision, file = "", stallTimeout, cache }: LoadOptions): Source {
  const base = new URL(url);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const address = (file: string) => {
    const whole = new URL(encodePath(file), base);
    // A signed folder address keeps its signature.
    whole.search = base.search;
    return whole.href;
  };
  // The name goes into every answer, where a signature has no business.
  const { origin, pathname } = base;
  const unstored = revision !== undefined && cache !== false;
  return {
    model: origin + pathname,
    revision,
    identity:
      revision === undefined
        ? undefined
        : { key: base.host + pathname + file, version: revision, ref: undefined },
    // Object stores answer 403 for a file that does not exist.
    open: (name, signal, start) =>
      openUrl(address(name), { headers: {}, absent: [403, 404, 410], start, stallTimeout, unstored }, signal),
  };
}

/** How a file is opened. */
export interface Opening extends FileRequest {
  /** Statuses that say that there is none. */
  absent: number[];
  /** Sees an answer that has the file, and may throw. */
  check?: (response: Response) => void;
}

/** Opens a file by its address. */
export async function openUrl(
  url: string,
  { absent, check, ...request }: Opening,
  signal: AbortSignal | undefined,
): Promise<OpenFile | Absent> {
  const download = new Download(url, request, signal);
  const connection = await download.open().catch((error) => {
    if (!isExtensions(url) || error.code !== "network") throw error;
  });
  if (!connection) return { absent: `${withoutQueries(url)} (not among the extension's files)` };
  const { response } = connection;
  const place = withoutQueries(url);
  if (!response.ok) {
    const isAbsent = absent.includes(response.status);
    const error = isAbsent ? undefined : await httpError(place, connection, request.headers);
    connection.close();
    if (error) throw error;
    return { absent: `${place} (HTTP ${response.status})` };
  }
  // Development servers answer their start page for whatever they do not have.
  if (isHtml(response)) {
    connection.close();
    return { absent: `${place} (an HTML page instead of the file)` };
  }
  try {
    check?.(response);
  } catch (error) {
    connection.close();
    throw error;
  }
  const { headers } = response;
  return {
    chunks: download.chunks(connection),
    size: download.sizeOf(connection),
    validator: headers.get("etag") ?? headers.get("last-modified") ?? undefined,
  };
}

const isHtml = ({ headers }: Response) => /^text\/html\b/i.test(headers.get("content-type") ?? "");

async function httpError(
  place: string,
  connection: Connection,
  { authorization }: FileRequest["headers"],
): Promise<GossamerError> {
  const { status } = connection.response;
  const words = (await wordsOf(connection)).replaceAll(authorization?.slice("Bearer ".length) || "\0", "…");
  const advice =
    status === 401 || status === 403
      ? `the model does not exist, or it is private or gated: check its name, and ${authorization ? "whether the token has expired or lacks access" : "pass `token`"}`
      : status === 429
        ? "too many requests: wait, or pass `token`"
        : "try again later, or load from another place";
  const said = words && ` (${words})`;
  return new GossamerError("http", `${place} answered HTTP ${status}${said}; ${advice}.`, { status });
}

/** What a server says of its refusal, in one line: the Hub in a header and in JSON. */
async function wordsOf(connection: Connection): Promise<string> {
  const { response } = connection;
  let words = response.headers.get("x-error-message") ?? "";
  if (words === "" && !isHtml(response)) {
    const decoder = new TextDecoder();
    const end = Date.now() + PATIENCE;
    try {
      for await (const chunk of connection.chunks()) {
        words += decoder.decode(chunk.subarray(0, 4096), { stream: true });
        if (words.length > 4096 || Date.now() > end) break;
      }
      const { error, message = error } = JSON.parse(words);
      words = String(message ?? "");
    } catch {
      // It is no JSON, or broke off.
    }
  }
  return withoutQueries(words.replace(/[\s\p{C}]+/gu, " ").trim()).slice(0, WORDS);
}
