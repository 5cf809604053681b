/** The worker's side of a pool: loads one model and runs calls. */

import type { LoaderOptions } from "../engine/engine.js";
import { type LocalEngine, LocalLoader } from "../engine/local.js";
import { toGossamerError } from "../errors.js";
import { instantiate } from "../init.js";
import type { Wasm } from "../instance.js";
import type { Failure, Reply, Request, Service } from "./protocol.js";

/** Returns a function that handles incoming requests. Replies are sent with `post`. */
export function serve(post: (reply: Reply, transfer: Transferable[]) => void): (request: Request) => void {
  const worker = new WorkerService();
  return async (request) => {
    const { id } = request;
    if ("abort" in request) return worker.abort(id);
    let value: unknown;
    if (request.method === "start") post({ id, begun: true }, []);
    try {
      value = await worker.answer(request);
    } catch (error) {
      return post({ id, failure: failure(error), memoryBytes: worker.memoryBytes }, []);
    }
    post({ id, value, memoryBytes: worker.memoryBytes }, transferable(value));
  };
}

class WorkerService {
  readonly #running = new Map<number, AbortController>();
  #wasm: Wasm | undefined;
  #loader: LocalLoader | undefined;
  #engine: LocalEngine | undefined;

  get memoryBytes(): number {
    return this.#wasm?.memory.buffer.byteLength ?? 0;
  }

  abort(id: number): void {
    this.#running.get(id)?.abort();
  }

  async answer({ id, method, args }: Extract<Request, { method: unknown }>): Promise<unknown> {
    const controller = new AbortController();
    this.#running.set(id, controller);
    try {
      const call = this.#service(controller.signal)[method] as (...args: unknown[]) => unknown;
      return await call(...args);
    } finally {
      this.#running.delete(id);
    }
  }

  #service(signal: AbortSignal): Service {
    const loader = () => present(this.#loader);
    const engine = () => present(this.#engine);
    return {
      start: async (module, options: LoaderOptions) => {
        this.#wasm = await instantiate(module);
        this.#loader = await LocalLoader.start(options, this.#wasm);
      },
      next: () => loader().next(),
      provide: (name, bytes) => loader().provide(name, bytes && new Uint8Array(bytes)),
      push: (bytes) => loader().push(new Uint8Array(bytes)),
      end: () => loader().end(),
      finish: async () => {
        this.#engine = await loader().finish();
        return this.#engine.info;
      },
      check: (call) => engine().check(call),
      run: (call, first) => engine().run(call, signal, first),
    };
  }
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the pool's messages are out of order");
  return value;
}

function failure(error: unknown): Failure {
  const { code, status, message } = toGossamerError(error);
  return { code, status, message };
}

/** Buffers that can be transferred instead of copied: saved bytes and dense vectors. */
function transferable(value: unknown): Transferable[] {
  if (value instanceof ArrayBuffer) return [value];
  const data = (value as { data?: unknown } | undefined)?.data;
  return ArrayBuffer.isView(data) ? [data.buffer as ArrayBuffer] : [];
}
