/**
 * The events that `onProgress` is called with. They have the fields of transformers.js' events, so
 * that existing progress bars work unchanged.
 */

/** One event of a load. */
export type Progress = FileProgress | BytesProgress | TotalProgress | ReadyProgress;

/** A file was chosen or found, its download starts, or it is complete. */
export interface FileProgress {
  /** Which of these happened. */
  status: "initiate" | "download" | "done";
  /** The model's name. */
  name: string;
  /** The file's path in the model's folder. */
  file: string;
  /**
   * With `"initiate"`: size of the file in bytes, if it is known. Where the place lists its files,
   * the event of the weights comes before they are requested.
   */
  total?: number;
}

/** More bytes of a file have arrived. */
export interface BytesProgress {
  /** Always `"progress"`. */
  status: "progress";
  /** The model's name. */
  name: string;
  /** The file's path in the model's folder. */
  file: string;
  /** Percent of the file, 0 to 100. */
  progress: number;
  /** Bytes that have arrived. */
  loaded: number;
  /** Size of the file in bytes. */
  total: number;
}

/** More bytes of the model have arrived. */
export interface TotalProgress {
  /** Always `"progress_total"`. */
  status: "progress_total";
  /** The model's name. */
  name: string;
  /** Percent of all files, 0 to 100. It never falls. */
  progress: number;
  /** Bytes that have arrived. */
  loaded: number;
  /** Size of all files in bytes; an estimate until the size of each is known. */
  total: number;
  /** Bytes of each file, by its path. */
  files: Record<string, FileBytes>;
}

/** How much of a file has arrived. */
export interface FileBytes {
  /** Bytes that have arrived. */
  loaded: number;
  /** Size of the file in bytes. */
  total: number;
}

/** The model is ready for use. */
export interface ReadyProgress {
  /** Always `"ready"`. */
  status: "ready";
  /** What the model is for: `"feature-extraction"` or `"sparse-feature-extraction"`. */
  task: string;
  /** The model's name. */
  model: string;
}
