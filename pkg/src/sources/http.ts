/** Files by HTTP. */

import { GossamerError, withoutQueries } from "../errors.js";
import type { LoadOptions } from "../types.js";
import { type Connection, Download, type FileRequest, isExtensions } from "./download.js";
import type { Absent, OpenFile, Source } from "./source.js";
import { encodePath } from "./trust.js";

/** Maximum number of characters that are quoted from a server's error message. */
const WORDS = 300;

/** Milliseconds to wait for that message. */
const PATIENCE = 2000;

/** A folder of files at `url`. Files with the same `revision` are assumed never to change. */
export function folderSource(
  url: URL,
  { revision, file = "", download, stallTimeout, cache }: LoadOptions,
): Source {
  const base = new URL(url);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const address = (file: string) => {
    const whole = new URL(encodePath(file), base);
    // The address of each file keeps the query, which may be a signature.
    whole.search = base.search;
    return whole.href;
  };
  // The name is shown in answers and messages, so it must not contain a signature.
  const { origin, pathname } = base;
  const unstored = revision !== undefined && cache !== false;
  const chosen = download === "small" && file === "" ? "?small" : file;
  return {
    isRemote: true,
    model: origin + pathname,
    revision,
    identity:
      revision === undefined
        ? undefined
        : { key: base.host + pathname + chosen, version: revision, ref: undefined },
    // Object stores answer 403 for a file that does not exist.
    open: (name, signal, start) =>
      openUrl(address(name), { headers: {}, absent: [403, 404, 410], start, stallTimeout, unstored }, signal),
  };
}

/** How a file is opened. */
export interface Opening extends FileRequest {
  /** HTTP statuses that mean that the file does not exist. */
  absent: number[];
  /** Called with the response that has the file. May throw. */
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
  // Development servers respond with their start page for files that do not exist.
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

/** The server's error message in one line. The Hub sends it in a header and in JSON. */
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
      // The body is not JSON, or it was interrupted.
    }
  }
  return withoutQueries(words.replace(/[\s\p{C}]+/gu, " ").trim()).slice(0, WORDS);
}
