/** Resolves the first argument of `load` to a source. */

import { GossamerError, withoutQueries } from "../errors.js";
import type { Host } from "../host.js";
import type { LoadOptions, ModelSource } from "../types.js";
import { filesSource } from "./files.js";
import { folderSource } from "./http.js";
import type { HubModel, Source } from "./source.js";

/** `name` or `org/name`, with or without `@revision`. */
const HUB_ID = /^([\w-][\w.-]*(?:\/[\w-][\w.-]*)?)(?:@([^\s@]+))?$/;
/** `./x`, `../x`, `/x` and `C:\x`. `~` is not expanded. */
const PATH = /^(\.{1,2}([/\\]|$)|\/|[A-Za-z]:[/\\])/;

/** The source that the argument names. */
export function resolveSource(source: ModelSource, options: LoadOptions, host: Host): Source {
  const place = resolve(source, options, host);
  if (!options.subfolder || place.identity?.hub) return place;
  throw invalid("`subfolder` is for models of the Hub; name the folder itself");
}

function resolve(source: ModelSource, options: LoadOptions, host: Host): Source {
  if (source instanceof URL) return fromUrl(source, options, host);
  if (typeof source === "string") return fromString(source, options, host);
  if (typeof source === "function" || (typeof source === "object" && source !== null)) {
    return filesSource(source);
  }
  throw invalid("it is neither a string, nor a URL, nor a map of files, nor a function that gets them");
}

function fromString(source: string, options: LoadOptions, host: Host): Source {
  if (PATH.test(source)) {
    if (host.directory) return host.directory(source);
    const base = globalThis.document?.baseURI ?? globalThis.location?.href;
    if (base === undefined || !URL.canParse(source, base)) {
      throw invalid(
        `there is no page that "${withoutQueries(source)}" could be relative to; pass a whole URL, or the files`,
      );
    }
    return folderSource(new URL(source, base), options);
  }
  if (/^[a-z][a-z\d+.-]*:\/\//i.test(source) && URL.canParse(source))
    return fromUrl(new URL(source), options, host);
  const [, id, revision] = HUB_ID.exec(source) ?? [];
  if (id === undefined)
    throw invalid(
      `"${withoutQueries(source)}" is neither a Hub id, nor a URL, nor a path that starts with ./ or /`,
    );
  return fromHub({ id, revision }, options, host);
}

function fromUrl(url: URL, options: LoadOptions, host: Host): Source {
  const model = host.hub?.address(url, options, host);
  if (model) return fromHub(model, options, host);
  // Browser extensions and apps that wrap a page have their own protocol.
  const fetched = ["https:", "http:", globalThis.location?.protocol].includes(url.protocol);
  if (url.protocol === "file:" && host.directory) return host.directory(url);
  if (fetched) return folderSource(url, options);
  throw invalid(`the address ${withoutQueries(url.href)} cannot be read here; use http: or https:`);
}

function fromHub(model: HubModel, options: LoadOptions, host: Host): Source {
  if (host.hub) return host.hub.source(model, options, host);
  throw invalid(
    `gossamer-embed/lean reads no models of the Hub, and ${model.id} is one: import gossamer-embed`,
  );
}

function invalid(why: string): GossamerError {
  const advice =
    'Pass "org/name", "https://…/folder/", a local folder such as "./model" (Node, Deno, Bun), a map of files, or a function that gets them';
  return new GossamerError("invalid_source", `The model cannot be loaded: ${why}. ${advice}.`, {
    status: 400,
  });
}
