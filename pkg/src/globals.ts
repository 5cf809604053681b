/**
 * What the public types name of browsers, for projects that have declarations of neither browsers nor Node. Where there are
 * declarations these add nothing to them.
 */

declare global {
  interface AbortSignal {}
  interface Blob {}
  // biome-ignore lint/suspicious/noExplicitAny: as it is declared elsewhere
  interface ReadableStream<R = any> {}
  interface Response {}
  interface SymbolConstructor {
    readonly dispose: unique symbol;
  }
  interface URL {}
  namespace WebAssembly {
    interface Module {}
  }
}

/** The instances of a global class, where it is declared. Cloudflare's have parameters, so that they cannot be named above. */
type Instance<Name extends string> =
  typeof globalThis extends Record<Name, { prototype: infer T }> ? T : object;

/** A `Request`. */
export type HttpRequest = Instance<"Request">;

/** What `fetch` takes beside an address. */
export type HttpRequestInit = typeof globalThis extends {
  Request: new (input: string, init?: infer T) => object;
}
  ? T
  : object;

/** An `EventTarget`. */
export type Target = Instance<"EventTarget">;
