/** Several models behind one handler. Each is loaded for the first request that needs it. */

import type { Embedder } from "./embedder.js";
import type { Call } from "./engine/call.js";
import { GossamerError, toGossamerError } from "./errors.js";
import {
  HANDLER_OPTIONS,
  type Handler,
  type HandlerOptions,
  handler,
  Refused,
  type RequestContext,
  type Start,
} from "./handler.js";
import { checkLoadOptions, checkOptions, checkValues, LIMIT, OBJECT, TEXT } from "./options.js";
import type { LoadOptions, ModelSource } from "./types.js";

/** Options of `serve`. */
export interface ServeOptions extends HandlerOptions {
  /** The models: the name that requests use → where the model comes from. */
  models: Readonly<Record<string, ModelSource>>;
  /**
   * The model for requests that name none; the first by default. If it does not have the kind of
   * vectors that is asked for, the first model that has it answers.
   */
  default?: string | undefined;
  /**
   * Maximum memory of weights in bytes. Beyond it, the least recently used models are disposed of.
   * By default there is no limit.
   */
  memoryBudget?: number | undefined;
  /** Options for loading the models. */
  load?: LoadOptions | undefined;
}

/** A server of models: `export default serve({ … })` is an edge worker. */
export interface Server {
  /**
   * Answers a request. Takes the arguments of `fetch`. If a model cannot be loaded, the answer is
   * 503 and the next request tries again; `load.onWarning` is called with the error.
   */
  fetch: Handler;
  /**
   * Frees all models. Requests that come later, or still wait for a model, are answered with 503
   * and the code `disposed`.
   */
  dispose(): void;
  /** Lets `using server = serve(…)` dispose of it. */
  [Symbol.dispose](): void;
}

interface Loaded {
  embedder: Promise<Embedder>;
  /** Memory of the weights in bytes; 0 until the model is loaded. */
  bytes: number;
  /** Number of requests in progress. */
  users: number;
}

/** Serves models that `load` loads. `start` returns a wasm instance. */
export function serveModels(
  load: (source: ModelSource, options: LoadOptions | undefined) => Promise<Embedder>,
  start: Start,
  options: ServeOptions,
): Server {
  checkOptions("serve", options, [...HANDLER_OPTIONS, "models", "default", "memoryBudget", "load"]);
  checkValues("serve", options, { models: OBJECT, default: TEXT, memoryBudget: LIMIT, load: OBJECT });
  checkLoadOptions(options.load ?? {});
  const names = Object.keys(options.models ?? {});
  const standard = options.default ?? names[0] ?? "";
  if (!names.includes(standard)) {
    throw new GossamerError(
      "invalid_input",
      "serve: `models` is empty, or has no model of the name `default`.",
      {
        status: 400,
      },
    );
  }
  const { onWarning = (warning: GossamerError) => console.warn(warning.message) } = options.load ?? {};
  /** The least recently used model first. */
  const loaded = new Map<string, Loaded>();
  /** The kinds of vectors of each model that has been loaded. */
  const outputs = new Map<string, readonly string[]>();
  let disposed = false;

  function checkDisposed(): void {
    if (disposed) throw new Refused("disposed");
  }

  /** Calls `then` with a model. The model is not disposed of meanwhile. */
  async function use<T>(
    name: string,
    context: RequestContext | undefined,
    then: (embedder: Embedder) => Promise<T> | T,
  ): Promise<T> {
    checkDisposed();
    const one = loaded.get(name) ?? begin(name);
    loaded.delete(name);
    loaded.set(name, one);
    one.users++;
    // Other requests may wait for the model even after this one was stopped.
    if (one.bytes === 0) context?.waitUntil(one.embedder.catch(() => {}));
    try {
      const embedder = await one.embedder.catch(() => {
        throw new Refused("unavailable");
      });
      checkDisposed();
      return await then(embedder);
    } finally {
      one.users--;
      shrink();
    }
  }

  function begin(name: string): Loaded {
    const embedder = load(options.models[name] as ModelSource, options.load);
    const one: Loaded = { embedder, bytes: 0, users: 0 };
    embedder.then(
      ({ info }) => {
        one.bytes = info.weightBytes;
        outputs.set(name, info.outputs);
        shrink();
      },
      (error: unknown) => {
        // The next request tries again.
        if (loaded.get(name) === one) loaded.delete(name);
        onWarning(toGossamerError(error));
      },
    );
    return one;
  }

  /**
   * Disposes of idle models until the rest is within the budget. The most recently used model
   * stays.
   */
  function shrink(): void {
    const { memoryBudget = Number.POSITIVE_INFINITY } = options;
    let total = [...loaded.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    for (const [name, one] of [...loaded].slice(0, -1)) {
      if (total <= memoryBudget) return;
      if (one.users > 0 || one.bytes === 0) continue;
      loaded.delete(name);
      total -= one.bytes;
      release(one);
    }
  }

  /**
   * The default model, or the first model that has the kind of vectors that is asked for. A model
   * must be loaded once to know its kinds. One that cannot be loaded is not skipped, since the
   * vectors of another model are in another space.
   */
  async function choose(kind: string | undefined, context: RequestContext | undefined): Promise<string> {
    if (kind === undefined || names.length === 1) return standard;
    for (const name of [standard, ...names]) {
      const given = outputs.get(name) ?? (await use(name, context, ({ info }) => info.outputs));
      if (given.includes(kind)) return name;
    }
    return standard;
  }

  async function run(call: Call<"fetch">, signal: AbortSignal, context: RequestContext | undefined) {
    checkDisposed();
    const wasm = await start(false);
    const [wanted, kind] = wasm.guard(() => wasm.classes.wanted(call.inputs)) as (string | undefined)[];
    if (wanted !== undefined && !names.includes(wanted)) throw new Refused("unknownModel");
    return use(wanted ?? (await choose(kind, context)), context, (embedder) => embedder.run(call, signal));
  }

  const fetch = handler("serve", run, options, start, names);
  return {
    fetch,
    dispose() {
      disposed = true;
      for (const one of loaded.values()) release(one);
      loaded.clear();
    },
    [Symbol.dispose]() {
      this.dispose();
    },
  };
}

/** Lets a model go, if it was or will be loaded. */
function release({ embedder }: Loaded): void {
  embedder.then((embedder) => embedder.dispose()).catch(() => {});
}
