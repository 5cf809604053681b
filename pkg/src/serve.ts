/** Several models behind one handler, loaded when they are first asked for. */

import type { Embedder } from "./embedder.js";
import type { Call } from "./engine/call.js";
import { GossamerError } from "./errors.js";
import { type Handler, type HandlerOptions, handler, type RequestData } from "./handler.js";
import type { LoadOptions, ModelSource } from "./types.js";

/** What {@link Server} serves. */
export interface ServeOptions extends HandlerOptions {
  /** Names as requests give them, and where each model comes from. */
  models: Readonly<Record<string, ModelSource>>;
  /** The model of requests that name none; the first by default. */
  default?: string | undefined;
  /** Bytes of weights to keep. Beyond them, models that were not asked for the longest are let go. By default all stay. */
  memoryBudget?: number | undefined;
  /** How models are loaded. */
  load?: LoadOptions | undefined;
}

/** Answers requests: `export default serve({ … })` is a worker. */
export interface Server {
  /** Takes what `fetch` takes. */
  fetch: Handler;
  /** Lets all models go. */
  dispose(): void;
  /** Lets `using server = serve(…)` dispose of it. */
  [Symbol.dispose](): void;
}

interface Loaded {
  embedder: Promise<Embedder>;
  /** Weights, once they are there. */
  bytes: number;
  /** Requests under way. */
  users: number;
}

/** Serves models that `load` loads. */
export function serveModels(
  load: (source: ModelSource, options: LoadOptions | undefined) => Promise<Embedder>,
  options: ServeOptions,
): Server {
  const names = Object.keys(options.models);
  const standard = options.default ?? names[0] ?? "";
  if (!Object.hasOwn(options.models, standard)) {
    throw new GossamerError(
      "invalid_input",
      "serve: `models` is empty, or has no model of the name `default`.",
      {
        status: 400,
      },
    );
  }
  /** Least recently used first. */
  const loaded = new Map<string, Loaded>();

  function use(name: string): Loaded {
    const one = loaded.get(name) ?? start(name);
    loaded.delete(name);
    loaded.set(name, one);
    return one;
  }

  function start(name: string): Loaded {
    const embedder = load(options.models[name] as ModelSource, options.load);
    const one: Loaded = { embedder, bytes: 0, users: 0 };
    embedder.then(
      ({ info }) => {
        one.bytes = info.weightBytes;
        shrink();
      },
      // The next request tries again.
      () => loaded.get(name) === one && loaded.delete(name),
    );
    return one;
  }

  /** Lets idle models go until the rest is within the budget; the newest stays. */
  function shrink(): void {
    const { memoryBudget = Number.POSITIVE_INFINITY } = options;
    let total = [...loaded.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    for (const [name, { embedder, bytes, users }] of [...loaded].slice(0, -1)) {
      if (total <= memoryBudget) return;
      if (users > 0 || bytes === 0) continue;
      loaded.delete(name);
      total -= bytes;
      void embedder.then((embedder) => embedder.dispose());
    }
  }

  async function run(call: Call<"fetch">, signal: AbortSignal | undefined) {
    const wanted = modelOf(call.inputs as RequestData) ?? standard;
    const known = Object.hasOwn(options.models, wanted);
    const one = use(known ? wanted : standard);
    one.users++;
    try {
      const embedder = await one.embedder;
      const refuse = known ? {} : { refuse: "unknownModel" };
      return await embedder.run({ ...call, options: { models: names, ...refuse, ...call.options } }, signal);
    } finally {
      one.users--;
      shrink();
    }
  }

  return {
    fetch: handler(run, options),
    dispose() {
      for (const { embedder } of loaded.values()) {
        embedder.then(
          (embedder) => embedder.dispose(),
          () => {},
        );
      }
      loaded.clear();
    },
    [Symbol.dispose]() {
      this.dispose();
    },
  };
}

/** The model that a request names, in whichever way its API has. */
function modelOf({ headers, body }: RequestData): string | undefined {
  const header = headers["x-chroma-embedding-model"];
  if (header !== undefined) return header;
  let model: unknown;
  try {
    model = (JSON.parse(body) as { model?: unknown } | null)?.model;
  } catch {
    // Wasm says what is wrong with it.
  }
  if (typeof model === "object" && model !== null) model = (model as { model?: unknown }).model;
  return typeof model === "string" ? model : undefined;
}
