/**
 * The browser types that the public types refer to, for projects without the type declarations of
 * browsers or Node. Where those are present, these declarations add nothing to them.
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

/**
 * The instance type of a global class, if it is declared. (Cloudflare's classes have type
 * parameters, so they cannot be declared above.)
 */
type Instance<Name extends string> =
  typeof globalThis extends Record<Name, { prototype: infer T }> ? T : object;

/** A `Request`. */
export type HttpRequest = Instance<"Request">;

/** The second parameter of `fetch`. */
export type HttpRequestInit = typeof globalThis extends {
  Request: new (input: string, init?: infer T) => object;
}
  ? T
  : object;

/** An `EventTarget`. */
export type Target = Instance<"EventTarget">;
