/** Files by HTTP. */

import { GossamerError } from "../errors.js";
import { bodySize, Download } from "./download.js";
import type { Absent, OpenFile, Source } from "./source.js";

/** A folder of files at `url`. */
export function folderSource(url: URL): Source {
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
  return {
    model: origin + pathname,
    // Object stores answer 403 for a file that does not exist.
    open: (file, signal) => openUrl(address(file), {}, [403, 404, 410], signal),
  };
}

/** Opens a file by its address; `check` sees an answer that has the file, and may throw. */
export async function openUrl(
  url: string,
  headers: Record<string, string>,
  absent: number[],
  signal: AbortSignal | undefined,
  check: (response: Response) => void = () => {},
): Promise<OpenFile | Absent> {
  const download = new Download(url, headers, signal);
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
    check(response);
  } catch (error) {
    connection.close();
    throw error;
  }
  return { chunks: download.chunks(connection), size: bodySize(response) };
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
