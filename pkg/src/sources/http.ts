/** Files by HTTP. */

import { GossamerError } from "../errors.js";
import type { LoadOptions } from "../types.js";
import { Download, type FileRequest } from "./download.js";
import type { Absent, OpenFile, Source } from "./source.js";

/** A folder of files at `url`, which never change under what the user calls their revision. */
export function folderSource(url: URL, { revision, file = "", stallTimeout, cache }: LoadOptions): Source {
  const base = new URL(url);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const address = (file: string) => {
    const whole = new URL(file, base);
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
interface Opening extends FileRequest {
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
  const connection = await download.open();
  const { response } = connection;
  if (!response.ok) {
    connection.close();
    if (absent.includes(response.status)) return { absent: `${url} (HTTP ${response.status})` };
    throw httpError(url, response.status);
  }
  // Development servers answer their start page for whatever they do not have.
  if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
    connection.close();
    return { absent: `${url} (an HTML page instead of the file)` };
  }
  try {
    check?.(response);
  } catch (error) {
    connection.close();
    throw error;
  }
  return { chunks: download.chunks(connection), size: download.sizeOf(connection) };
}

function httpError(url: string, status: number): GossamerError {
  const advice =
    status === 401 || status === 403
      ? "the model does not exist, or it is private or gated: check its name, and pass `token`"
      : status === 429
        ? "too many requests: wait, or pass `token`"
        : "try again later, or load from another place";
  return new GossamerError("http", `${url} answered HTTP ${status}; ${advice}.`, { status });
}
