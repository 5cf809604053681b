/** Files that a visitor chooses or drops. */

import { fromEvent } from "file-selector";

/** The files of a drop or an input, with their paths. */
export async function filesOf(event: Event): Promise<File[]> {
  const items = await fromEvent(event);
  return items.filter((item) => item instanceof File);
}

/** Splits a path as `file-selector` gives it: `./folder/1_Pooling/config.json`. */
function parts(file: File): string[] {
  const path = "path" in file && typeof file.path === "string" ? file.path : file.name;
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

export interface DroppedModel {
  name: string;
  files: Map<string, File>;
  /** Path of a GGUF file that is the whole model, if there is one. */
  gguf: string | undefined;
}

/** A model's files by their paths in its folder, wherever that folder is. */
export function droppedModel(files: File[]): DroppedModel {
  const paths = files.map(parts);
  const nested = paths.every((path) => path.length > 1);
  const names = paths.map((path) => (nested ? path.slice(1) : path).join("/"));
  const gguf = names.find((name) => name.endsWith(".gguf"));
  return {
    name: (nested ? paths[0]?.[0] : files[0]?.name) ?? "files",
    files: new Map(names.flatMap((name, index) => (files[index] ? [[name, files[index]]] : []))),
    gguf: names.includes("config.json") ? undefined : gguf,
  };
}

/** Saves a file to the visitor's disk. */
export function download(name: string, blob: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The click has started the download, which keeps the blob alive.
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
