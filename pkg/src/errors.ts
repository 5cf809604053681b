/** The error class of the package, and functions that create errors. */

/** What went wrong, as a word that stays the same across versions. */
export type ErrorCode =
  // the files of a model
  | "invalid_safetensors"
  | "invalid_torch"
  | "invalid_gguf"
  | "invalid_onnx"
  | "truncated_stream"
  | "wrong_hash"
  | "missing_tensor"
  | "unexpected_tensor"
  | "wrong_shape"
  | "wrong_dtype"
  | "invalid_config"
  | "unsupported_model"
  | "invalid_tokenizer"
  | "missing_file"
  | "pooling_assumed"
  | "other_file"
  // a request
  | "invalid_input"
  | "empty_input"
  | "too_many_inputs"
  | "token_out_of_range"
  | "foreign_tokens"
  | "invalid_dimensions"
  | "unknown_prompt"
  | "input_too_long"
  | "answer_too_large"
  | "wrong_model_kind"
  // getting the files
  | "invalid_source"
  | "not_found"
  | "http"
  | "network"
  | "offline"
  | "not_cached"
  | "cache_busy"
  // everything else
  | "aborted"
  | "disposed"
  | "worker_failed"
  | "unsupported_runtime"
  | "no_gpu"
  | "gpu_lost"
  | "gpu_wrong"
  | "gpu_unused"
  | "needs_full_build"
  | "out_of_memory"
  | "internal";

/** The error that `gossamer-embed` throws. The message says what to do. */
export class GossamerError extends Error {
  /** Always `"GossamerError"`. */
  override readonly name = "GossamerError";
  /** What went wrong, as a word that stays the same across versions. */
  readonly code: ErrorCode;
  /** The corresponding HTTP status, for servers that pass the error on. */
  readonly status: number;

  constructor(code: ErrorCode, message: string, options: { status: number; cause?: unknown }) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.status = options.status;
  }
}

/** Converts an error that wasm threw to a {@link GossamerError}. */
export function toGossamerError(error: unknown): GossamerError {
  if (error instanceof GossamerError) return error;
  if (error instanceof Error) {
    const { code, status } = error as { code?: unknown; status?: unknown };
    if (typeof code === "string" && typeof status === "number") {
      return new GossamerError(code as ErrorCode, error.message, { status });
    }
  }
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new GossamerError(
    "internal",
    `The WebAssembly code stopped unexpectedly (${what}). This is a defect of gossamer-embed: please report it. What comes next runs in a new instance.`,
    { status: 500, cause: error },
  );
}

/**
 * The messages of an error and of its causes: `fetch` reports in `cause` that a certificate is not
 * trusted or a host is unknown. Queries are removed from addresses, since they may contain
 * signatures.
 */
export function reason(error: unknown): string {
  const parts: string[] = [];
  let at = error;
  for (let depth = 0; at instanceof Error && depth < 5; depth++) {
    const { message, code, name, errors } = at as Partial<AggregateError> & { code?: unknown };
    // If several addresses were tried, the first error is representative.
    const part: string = message || errors?.[0]?.message || String(code ?? name);
    if (!parts.some((other) => other.includes(part))) parts.push(part);
    at = at.cause;
  }
  return withoutQueries(parts.join(": ") || String(error));
}

/** Removes the user name, query and fragment from all addresses in a text. */
export function withoutQueries(text: string): string {
  return text.replace(/(\w:\/\/)(?:[^\s/@]*@)?([^\s?#"'()]*)(?:[?#][^\s"'()]*)?/g, "$1$2");
}

/** The error of a call after `dispose`. */
export function disposed(): GossamerError {
  return new GossamerError("disposed", "This embedder was disposed of; load the model anew.", {
    status: 410,
  });
}

/** The error if a model was to be loaded again after a failure and its source has changed. */
export function anotherModel(): GossamerError {
  return new GossamerError(
    "invalid_source",
    "The model at its source is another one now. Load it anew, and make indexes anew if `spaceId` differs.",
    {
      status: 409,
    },
  );
}

/** Throws if the signal is aborted. */
export function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}

/** The error of a call whose signal was aborted. */
export function aborted(signal: AbortSignal): GossamerError {
  return new GossamerError("aborted", "The call was aborted through its signal.", {
    status: 499,
    cause: signal.reason,
  });
}
