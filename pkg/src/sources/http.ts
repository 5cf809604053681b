/** Files by HTTP: a folder's URL, or a model of the Hugging Face Hub. */

import { GossamerError } from "../errors.js";
import type { LoadOptions } from "../types.js";
import { bodySize, Download } from "./download.js";
import type { Absent, OpenFile, Source } from "./source.js";

const HUB = "https://huggingface.co";

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

/** A model of the Hub, or of a mirror that has the Hub's addresses. */
export function hubSource(id: string, revision: string, options: LoadOptions): Source {
  const endpoint = (options.endpoint ?? HUB).replace(/\/+$/, "");
  const base = `${endpoint}/${id}/resolve/${encodeURIComponent(revision)}/`;
  const headers: Record<string, string> = options.token ? { authorization: `Bearer ${options.token}` } : {};
  return {
    model: id,
    revision,
    open: (file, signal) => openUrl(base + file, headers, [404], signal),
  };
}

async function openUrl(
  url: string,
  headers: Record<string, string>,
  absent: number[],
  signal: AbortSignal | undefined,
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
